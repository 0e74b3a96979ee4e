"""The pages of the app, one class each: `__init__` lays the page out, `wire` connects it, the methods are its handlers."""

from typing import Any

QUIET: dict[str, Any] = {"show_progress": "hidden"}  # of an event: its outputs stay to be seen while it works
