"""The whole server, pages and API, on a free loopback port, with or without users; the serve tests share it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from small_bot import make_context

from emendo.accounts import Accounts
from serve.app import launch
from serve.session import ServeContext

ROLES = {"ada": "admin", "rita": "reviewer", "ana": "asker", "ben": "asker"}


@contextmanager
def running(root: Path, model: BaseChatModel | None = None, **options: Any) -> Iterator[tuple[ServeContext, str]]:
    """(context, address without a slash at its end)."""
    context = make_context(root, model, **options)
    site = launch(context, port=0)
    try:
        yield context, f"http://127.0.0.1:{site.port}"
    finally:
        site.close()


def add_users(accounts: Accounts) -> dict[str, dict[str, str]]:
    """A user of each role and one asker more; name -> the headers of that user's requests. Passwords are the name, twice."""
    headers = {}
    for name, role in ROLES.items():
        accounts.add(name, role, f"{name} {name} {name}")
        headers[name] = {"Authorization": f"Bearer {accounts.new_token(name)}"}
    return headers
