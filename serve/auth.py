"""Signing in, and the one place that says whose an id is. The wall (serve.security) has found the user before."""

from __future__ import annotations

import html
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from emendo.accounts import LOCAL, SESSION, Accounts, User
from emendo.records import UserError
from serve.security import COOKIE

TRIES, WITHIN = 5, 60.0  # failed sign-ins of one name allowed within so many seconds
LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in – Emendo</title><style>
:root{{color-scheme:light dark}}
body{{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;margin:0}}
form{{display:grid;gap:.75rem;width:min(20rem,90vw)}}label{{display:grid;gap:.25rem}}
input,button{{font:inherit;padding:.5rem .75rem;border-radius:6px;border:1px solid #8a8a80}}
button{{background:#20635a;color:#fff;border:0;cursor:pointer}}p{{color:#b3402a;margin:0}}
@media(prefers-color-scheme:dark){{p{{color:#ff9d85}}}}</style>
<main><form method="post" action="/login"><h1>Emendo</h1>{note}
<label>Name<input name="name" autocomplete="username" autofocus required></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button></form></main></html>"""


def current_user(request: Request) -> User:
    """The user that the wall found."""
    user: User | None = request.state.user
    if user is None:
        raise HTTPException(401, "sign in first")
    return user


SignedIn = Annotated[User, Depends(current_user)]


def needs(role: str) -> Any:
    """A dependency that only lets users through who have the role or one above it."""

    def check(user: SignedIn) -> None:
        if not user.may(role):
            raise HTTPException(403, f"this needs the role {role}; yours is {user.role}")

    return Depends(check)


def check_owner(context: Any, user: User, *, answer_id: str = "", conversation_id: str = "", doc_id: str = "") -> None:
    """Raise UserError unless the user may have (answer, conversation) or change (document) what each id names.

    An id of somebody else and one that does not exist read the same.
    """
    if answer_id and context.store.owner_of_answer(answer_id) != user.name:
        raise UserError(f"no answer {answer_id!r}")
    if conversation_id and context.store.owner_of_conversation(conversation_id) != user.name:
        raise UserError(f"no conversation {conversation_id!r}")
    if doc_id:
        if context.place_of(doc_id) is None:
            raise UserError(f"no document {doc_id!r}")
        kept = context.kept_file(doc_id)
        if not user.may("admin") and not (kept and context.store.upload_owner(kept.name) == user.name):
            raise UserError(f"document {doc_id!r} was added by somebody else; an admin can delete it")


def page_user(accounts: Accounts) -> User:
    """The user whose event a Gradio handler is working on. Raises UserError when nobody is signed in."""
    from gradio.context import LocalContext

    users = accounts.all()
    if not users:
        return LOCAL  # from another machine nobody gets here: the wall lets no one in
    request = LocalContext.request.get(None)
    found = next((user for user in users if request and user.name == request.username), None)
    if found is None:
        raise UserError("sign in again: /login")
    return found


def require(accounts: Accounts, role: str) -> User:
    """The page's user, or UserError where the role is missing."""
    user = page_user(accounts)
    if not user.may(role):
        raise UserError(f"this needs the role {role}; yours is {user.role}")
    return user


@contextmanager
def shown() -> Iterator[None]:
    """A UserError within becomes what a page shows, without a traceback in the log."""
    import gradio as gr

    try:
        yield
    except UserError as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from error


def add_login_routes(app: FastAPI, accounts: Accounts) -> None:
    """GET and POST /login, POST /logout."""
    failures: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=TRIES))
    verifying = threading.Lock()  # argon2 takes 64 MB for each password it looks at

    def page(note: str = "", status: int = 200) -> HTMLResponse:
        return HTMLResponse(LOGIN_PAGE.format(note=f'<p role="alert">{html.escape(note)}</p>' if note else ""), status)

    @app.get("/login", include_in_schema=False)
    def login_page(failed: bool = False) -> HTMLResponse:
        return page("Name or password is wrong." if failed else "")

    @app.post("/login", include_in_schema=False)
    def login(request: Request, name: Annotated[str, Form()], password: Annotated[str, Form()]) -> Response:
        name = name.strip().lower()[:64]
        if len(failures) > 1000:
            failures.clear()
        recent = failures[name]
        if len(recent) == TRIES and time.monotonic() - recent[0] < WITHIN:
            return page(f"Too many failed sign-ins as {name}. Wait a minute, then try again.", 429)
        with verifying:
            right = accounts.check_password(name, password)
        if not right:
            recent.append(time.monotonic())
            return RedirectResponse("/login?failed=true", 303)
        failures.pop(name, None)
        reply = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        token, age = accounts.new_token(name, "session"), int(SESSION.total_seconds())
        reply.set_cookie(COOKIE, token, max_age=age, httponly=True, samesite="lax", secure=secure)
        return reply

    @app.post("/logout", include_in_schema=False)
    def logout(request: Request) -> Response:
        accounts.forget(request.cookies.get(COOKIE, ""))
        reply = RedirectResponse("/login", 303)
        reply.delete_cookie(COOKIE)
        return reply
