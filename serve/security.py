"""The wall around the whole app, API and pages alike: who may come in, from where, with how much, and what a browser may do.

Nothing behind it is reachable without a user but what PUBLIC names; of Gradio's own routes only those its pages need are open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emendo.accounts import LOCAL, Accounts, User

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "emendo_session"
PUBLIC = re.compile(
    r"/(login|healthz|readyz|docs|docs/oauth2-redirect|openapi\.json|favicon\.ico|robots\.txt|theme\.css)$"
    r"|/(assets|static|docs-static)/"
)
# What Gradio's pages ask for. Its file cache, proxy and streams are closed: they serve one user's file to another.
GRADIO = re.compile(
    r"/$|/(config|manifest\.json|pwa_icon)$"
    r"|/gradio_api/(info|queue/(join|data)|upload|upload_progress|heartbeat/[^/]+|reset|cancel|startup-events|app_id)/?$"
)
# Gradio's pages carry inline scripts and make functions from text; the fonts and pictures are its own or inside the page.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
UPLOADS = ("/documents", "/gradio_api/upload")
SMALL_BODY = 4 * 2**20  # bytes, for everything but uploads


def error_response(status: int, message: str, kind: str = "invalid_request_error") -> JSONResponse:
    """An error in the form OpenAI's clients read."""
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)


class Wall:
    """ASGI middleware. Puts the User into `scope["state"]["user"]`, or answers itself.

    `own_paths` are the API's paths, known when the app is built; any other path is Gradio's.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts, own_paths: Iterable[re.Pattern[str]], network: bool, upload_bytes: int):
        self._app = app
        self._accounts = accounts
        self._own = tuple(own_paths)
        self._network = network
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if not PUBLIC.match(scope["path"]):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = await self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        limit = self._upload_bytes if scope["path"] in UPLOADS else SMALL_BODY
        await self._app(scope, _limited(receive, limit), send_with_headers)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Why this request goes no further, or None with the user put into its state."""
        path, headers = scope["path"], Headers(scope=scope)
        exist = await run_in_threadpool(self._accounts.exist)
        if not exist and not self._network and _host(headers.get("host", "")) not in LOOPBACK:
            return error_response(403, "without users this server answers to 127.0.0.1 and localhost only")  # DNS rebinding
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and not _same_origin(headers):
            return error_response(403, "a page of another site sent this request")
        length = headers.get("content-length", "0")
        if path in UPLOADS and length.isdigit() and int(length) > self._upload_bytes:
            most = self._upload_bytes // 2**20
            return error_response(413, f"the upload has {int(length) / 2**20:.0f} MB; at most {most} MB are taken at once")
        user = LOCAL if not exist and not self._network else await run_in_threadpool(self._user, scope)
        scope.setdefault("state", {})["user"] = user
        if PUBLIC.match(path):
            return None
        if user is None:
            if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
                return RedirectResponse("/login", 303)
            return error_response(
                401, "sign in at /login, or send a token: Authorization: Bearer emendo_...", "authentication_error"
            )
        own = any(pattern.match(path) for pattern in self._own)
        return None if own or GRADIO.match(path) else error_response(404, f"nothing at {path}", "not_found_error")

    def _user(self, scope: Scope) -> User | None:
        """The user of the request's token or, for a browser, its cookie."""
        connection = HTTPConnection(scope)
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._accounts.user_of(token.strip(), "api")
        return self._accounts.user_of(connection.cookies.get(COOKIE, ""), "session")


class TooLarge(HTTPException):
    """A body that goes on past the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the request is larger than {limit // 2**20} MB; no more is taken at once")


def _limited(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Any:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise TooLarge(limit)
        return message

    return counted


def _same_origin(headers: Headers) -> bool:
    """False for a request that a browser sends from another site's page; programs send no Origin."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _host(netloc: str) -> str:
    return urlsplit(f"//{netloc}").hostname or ""
