"""The pages of the app, one class each: `__init__` lays the page out, `wire` connects it, the methods are its handlers."""
