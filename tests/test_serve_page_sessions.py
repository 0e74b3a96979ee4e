"""One user's events and their stream, against another user who knows the session's id; and no event lost between two streams."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_site import add_users, running

from emendo.accounts import User
from serve import page_sessions
from serve.page_sessions import PageSessions

CLOSED = b'data: {"msg":"close_stream","event_id":null}\n\n'


def test_another_user_cannot_read_join_or_cancel_the_events_of_a_known_session(tmp_path: Path) -> None:
    with running(tmp_path) as (context, url):
        headers = add_users(context.accounts)
        config = httpx.get(f"{url}/config", headers=headers["ana"]).json()
        loaded = next(row for row in config["dependencies"] if row["targets"][0][1] == "load")
        event = {"session_hash": "anas", "fn_index": loaded["id"], "data": [], "trigger_id": None}
        stream: dict[str, Any] = {"params": {"session_hash": "anas"}, "timeout": 30}
        assert httpx.post(f"{url}/gradio_api/queue/join", json=event, headers=headers["ana"]).status_code == 200

        for other in (headers["ben"], headers["ada"]):
            assert httpx.get(f"{url}/gradio_api/queue/data", headers=other, **stream).status_code == 404
            assert httpx.get(f"{url}/gradio_api/heartbeat/anas", headers=other).status_code == 404
            assert httpx.post(f"{url}/gradio_api/queue/join", json=event, headers=other).status_code == 404
            cancel = {"session_hash": "anas", "fn_index": loaded["id"], "event_id": "e"}
            assert httpx.post(f"{url}/gradio_api/cancel", json=cancel, headers=other).status_code == 404
        told = httpx.get(f"{url}/gradio_api/queue/data", headers=headers["ana"], **stream).text
        assert "process_completed" in told, "what others tried took nothing from her"

        too_large = b'{"session_hash":"' + b"x" * (5 * 2**20)
        reply = httpx.post(f"{url}/gradio_api/queue/join", content=too_large, headers=headers["ana"])
        assert reply.status_code == 413


def test_an_event_is_answered_after_the_client_has_heard_that_its_stream_is_closed() -> None:
    """Else Gradio's client takes the stream for open and never fetches what the event brings."""
    heard: list[str] = []

    async def gradio(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": CLOSED if scope["path"].endswith("data") else b"{}"})

    async def slow_network(message: Any) -> None:
        await asyncio.sleep(0.1)
        heard.extend(["closed"] * (message.get("body") == CLOSED))

    async def event_sent_meanwhile(sessions: PageSessions) -> None:
        await asyncio.sleep(0.12)  # the server has closed, the client has not heard it
        await call(sessions, "/gradio_api/queue/join", lambda message: heard.append("replied"), "ana")

    async def both() -> None:
        sessions = PageSessions(gradio)
        stream = request(sessions, "/gradio_api/queue/data", slow_network, "ana")
        await asyncio.gather(stream, event_sent_meanwhile(sessions))

    asyncio.run(both())
    assert heard[:2] == ["closed", "replied"]


def test_who_opens_many_pages_ends_only_own_old_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_sessions, "MOST", 2)
    sessions = PageSessions(lambda *_: asyncio.sleep(0))
    assert all(sessions._belongs(session, "ana") for session in ("a1", "a2"))
    assert all(sessions._belongs(f"b{n}", "ben") for n in range(5))
    assert not sessions._belongs("a1", "ben")
    assert sessions._belongs("b0", "ana"), "forgotten, so nobody's"


async def call(app: Any, path: str, told: Any, user: str) -> None:
    async def send(message: Any) -> None:
        told(message)

    await request(app, path, send, user)


async def request(app: Any, path: str, send: Any, user: str, session: str = "s") -> None:
    body = json.dumps({"session_hash": session}).encode()

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    state = {"user": User(user, "asker")}
    query = f"session_hash={session}".encode()
    await app({"type": "http", "path": path, "query_string": query, "state": state, "headers": []}, receive, send)
