"""The HTTP API: an application whose routes products call, and into which the pages are mounted. Documented at /docs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

import anyio.to_thread
import sqlalchemy as sa
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Route

from emendo import __version__
from emendo.records import UserError
from serve.api_corrections import add_correction_routes
from serve.api_documents import add_document_routes
from serve.api_files import add_file_routes
from serve.api_openai import add_openai_routes
from serve.auth import add_login_routes, needs
from serve.queue import QueueFull
from serve.security import Wall, error_response
from serve.session import ServeContext

THREADS = 400  # each waiting chat holds one between two pieces of its answer
KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
ABOUT = (
    "Cited answers from your manuals. Where users exist, send `Authorization: Bearer TOKEN`; an admin makes tokens with "
    "`emendo users token NAME`. OpenAI's clients work with base_url `http://HOST:PORT/v1`."
)


def build_api(context: ServeContext, network: bool = False) -> FastAPI:
    """The API over one context; `network` says that other machines can reach it, so that nobody is let in without a user."""
    app = FastAPIOffline(
        title="Emendo",
        version=__version__,
        description=ABOUT,
        redoc_url=None,
        static_url="/docs-static",
        favicon_url="/favicon.ico",
        lifespan=_lifespan,
    )
    _add_operation_routes(app, context)
    add_openai_routes(app, context)
    add_document_routes(app, context)
    add_correction_routes(app, context)
    add_file_routes(app, context)
    add_login_routes(app, context.accounts)
    _tell_errors(app)
    _count_requests(app, context)
    own = [route.path_regex for route in app.routes if isinstance(route, Route)]
    upload_bytes = (context.settings.max_file_mb + 1) * 2**20
    app.add_middleware(Wall, accounts=context.accounts, own_paths=own, network=network, upload_bytes=upload_bytes)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def _add_operation_routes(app: FastAPI, context: ServeContext) -> None:
    tags: list[str | Enum] = ["operation"]

    @app.get("/healthz", tags=tags)
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok", "version": __version__}

    @app.get("/readyz", tags=tags, response_model=None)
    def readyz() -> JSONResponse:
        """The database answers and the index, where there is one, is open: 200, else 503."""
        try:
            context.store.promoted()
            context.refresh()
        except (UserError, sa.exc.SQLAlchemyError):
            return JSONResponse({"status": "not ready", "reason": "the database or the index does not open"}, 503)
        return JSONResponse({"status": "ready", "documents": len(context.documents())})

    @app.get("/metrics", tags=tags, dependencies=[needs("admin")], response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """For Prometheus."""
        return PlainTextResponse(context.metrics.text())


def _tell_errors(app: FastAPI) -> None:
    """All errors have the form that OpenAI's clients read."""

    async def told(request: Request, error: Any) -> JSONResponse:
        return error_response(error.status_code, str(error.detail), KINDS.get(error.status_code, "invalid_request_error"))

    async def invalid(request: Request, error: Any) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return error_response(400, f"{where or 'the body'}: {first['msg']}")

    async def refused(request: Request, error: Any) -> JSONResponse:
        full = isinstance(error, QueueFull)
        return error_response(429 if full else 400, str(error), KINDS[429] if full else "invalid_request_error")

    async def broke(request: Request, error: Any) -> JSONResponse:  # Starlette logs it
        return error_response(500, "something went wrong; the server's log says what", "server_error")

    app.add_exception_handler(Exception, broke)
    app.add_exception_handler(StarletteHTTPException, told)
    app.add_exception_handler(HTTPException, told)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(UserError, refused)


def _count_requests(app: FastAPI, context: ServeContext) -> None:
    own = {route.path for route in app.routes if isinstance(route, Route)}

    class Counted:
        """ASGI middleware; the pages' requests are counted by their answers instead."""

        def __init__(self, inner: Any):
            self._inner = inner

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def counting(message: Any) -> None:
                route = getattr(scope.get("route"), "path", "")
                if message["type"] == "http.response.start" and route in own:
                    context.metrics.requested(scope["method"], route, message["status"])
                await send(message)

            await self._inner(scope, receive, counting if scope["type"] == "http" else send)

    app.add_middleware(Counted)
