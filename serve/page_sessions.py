"""A page's events and their stream belong to one user, and no event is lost between two streams.

A browser makes the id of its session itself and names it in every event. Gradio sends the stream of a session to any signed-in
user who knows that id; here it is the user's who first used it, and to anybody else it does not exist.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict, deque
from collections.abc import Sequence

from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.security import TooLarge, error_response

EVENTS, STREAM, ALIVE = ("/gradio_api/queue/join", "/gradio_api/cancel"), "/gradio_api/queue/data", "/gradio_api/heartbeat/"
CLOSING = b'"msg":"close_stream"'
# Seconds. Gradio's client opens a stream for an event unless one is open, and may still take for open what the server has just
# closed: the event would run and its answer never be fetched. So the reply to an event waits until the client knows.
HEARD = 0.3
MOST = 1000  # sessions remembered of each user; a page opened once more than that ends the user's oldest


class PageSessions:
    """ASGI middleware, behind serve.security.Wall."""

    def __init__(self, app: ASGIApp):
        self._app = app
        self._owner: dict[str, str] = {}
        self._sessions_of: dict[str, deque[str]] = defaultdict(deque)
        self._closed: dict[str, float] = {}  # when the session's last stream was closed, monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/") if scope["type"] == "http" else ""
        if path in EVENTS:
            try:
                body = await _read(receive)
            except TooLarge as error:
                await error_response(error.status_code, error.detail)(scope, receive, send)
                return
            session, receive = _named_in(body), _replay(body, receive)
        elif path == STREAM:
            session = QueryParams(scope["query_string"]).get("session_hash", "")
        else:
            session = path.removeprefix(ALIVE) if path.startswith(ALIVE) else ""
        if session and not self._belongs(session, scope["state"]["user"].name):
            await error_response(404, "no such session", "not_found_error")(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if path == STREAM and CLOSING in message.get("body", b""):
                self._closed[session] = time.monotonic()
            if path in EVENTS and message["type"] == "http.response.start":
                await asyncio.sleep(max(0.0, self._closed.get(session, 0.0) + HEARD - time.monotonic()))
            await send(message)

        await self._app(scope, receive, watched if session else send)

    def _belongs(self, session: str, user: str) -> bool:
        """Whether the session is the user's; one that nobody has used becomes it."""
        if session not in self._owner:
            own = self._sessions_of[user]
            own.append(session)
            self._owner[session] = user
            if len(own) > MOST:
                oldest = own.popleft()
                del self._owner[oldest]
                self._closed.pop(oldest, None)
        return self._owner[session] == user


async def _read(receive: Receive) -> Sequence[Message]:
    """The messages of a request's body."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


def _replay(messages: Sequence[Message], receive: Receive) -> Receive:
    left = deque(messages)

    async def again() -> Message:
        return left.popleft() if left else await receive()

    return again


def _named_in(messages: Sequence[Message]) -> str:
    """The session that an event names; "" for a body that Gradio will refuse."""
    try:
        named = json.loads(b"".join(message.get("body", b"") for message in messages))
    except ValueError:
        return ""
    session = named.get("session_hash") if isinstance(named, dict) else None
    return session if isinstance(session, str) else ""
