"""The Gradio app: six pages over one ServeContext."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from emendo.accounts import User
from emendo.records import UserError
from serve.heaps import keep_heaps_small
from serve.security import LOOPBACK
from serve.session import ServeContext
from serve.theme import FAVICON, STYLE, make_head, make_theme

# Seconds a thread may go on while others wait for the interpreter, a tenth of Python's own: searches and requests would hold up
# the threads that decode, which need it for a moment between two matrix products.
_SWITCH = 0.0005
HEADER = f'<header id="brand">{FAVICON.read_text(encoding="utf-8")}<h1>Emendo</h1></header>'


def build_app(context: ServeContext) -> Any:
    """The gr.Blocks of all pages; `serve` launches it."""
    import gradio as gr

    from serve.pages.chat import ChatPage
    from serve.pages.corrections import CorrectionsPage
    from serve.pages.documents import DocumentsPage
    from serve.pages.evaluations import EvaluationsPage
    from serve.pages.status import StatusPage
    from serve.pages.tune import TunePage

    day = 24 * 60 * 60
    with gr.Blocks(title="Emendo", analytics_enabled=False, fill_width=True, delete_cache=(day, day)) as app:
        brand = gr.HTML(HEADER)
        with gr.Tabs(elem_id="pages") as tabs:
            with gr.Tab("Chat") as chat_tab:
                chat = ChatPage(context)
            with gr.Tab("Documents", id="documents"):
                documents = DocumentsPage(context)
            with gr.Tab("Corrections") as corrections_tab:
                corrections = CorrectionsPage(context)
            with gr.Tab("Tune") as tune_tab:
                tune = TunePage(context)
            with gr.Tab("Evaluation") as evaluations_tab:
                evaluations = EvaluationsPage(context)
            with gr.Tab("Status") as status_tab:
                status = StatusPage(context)
        chat.wire(app, chat_tab)
        chat.add.click(lambda: gr.Tabs(selected="documents"), None, tabs, show_progress="hidden")
        documents.wire(app)
        corrections.wire(corrections_tab)
        tune.wire(tune_tab)
        evaluations.wire(evaluations_tab)
        status.wire(status_tab)
        app.load(lambda: _header(context.user()), None, brand, show_progress="hidden")
        documents.changed.change(chat.greet, None, chat.greeted, show_progress="hidden")
    return app


def _header(user: User) -> str:
    """With the user's name and a way out."""
    name = f'<form method="post" action="/logout"><span>{user.name}</span><button>Sign out</button></form>' if user.name else ""
    return HEADER.replace("</header>", f"{name}</header>")


class Running:
    """A server in threads of its own, at `.port`; `.close()` ends it, answers under way get a few seconds."""

    def __init__(self, server: Any, socket: Any):
        self.port = int(socket.getsockname()[1])
        self._server = server
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, name="emendo-server", daemon=True)
        self._thread.start()
        while not server.started and self._thread.is_alive():
            time.sleep(0.01)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


def serve(context: ServeContext, host: str = "127.0.0.1", port: int = 7860, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until interrupted; `ready` is called when the pages can be opened.

    Raises UserError when the port is taken, and for a network without users to sign in.
    """
    if host not in LOOPBACK and not context.accounts.exist():
        raise UserError(
            f"--host {host} would open every conversation and document to the network, and there are no users to sign in; "
            "add the first with: emendo users add NAME --role admin"
        )
    socket = _bind(host, port)
    keep_heaps_small()
    sys.setswitchinterval(_SWITCH)
    server = _server(context, host)
    socket.listen()  # a browser that comes before the server runs waits for it
    ready()
    server.run(sockets=[socket])


def launch(context: ServeContext, host: str = "127.0.0.1", port: int = 7860) -> Running:
    """Start the server of pages and API; port 0 takes a free one. UserError when the port is taken."""
    socket = _bind(host, port)
    return Running(_server(context, host), socket)


def _server(context: ServeContext, host: str) -> Any:
    import uvicorn

    site = build_site(context, host)
    server = uvicorn.Server(uvicorn.Config(site, log_level="warning", timeout_graceful_shutdown=3, server_header=False))
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return server


def _is_news(record: logging.LogRecord) -> bool:
    """False for the end of the streams that open pages hold when the server ends: each would tell a traceback."""
    cut_off = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not (cut_off or "graceful shutdown exceeded" in record.getMessage())


def build_site(context: ServeContext, host: str = "127.0.0.1") -> Any:
    """The API with the pages mounted into it, behind the wall of serve.security."""
    import gradio as gr
    from starlette.middleware import Middleware

    from serve.api import THREADS, build_api
    from serve.page_sessions import PageSessions

    api = build_api(context, network=host not in LOOPBACK)
    pages = build_app(context).queue(max_size=context.settings.most_waiting, api_open=False)
    pages.max_threads = THREADS
    api.user_middleware.append(Middleware(PageSessions))  # the innermost: the wall has found the user
    return gr.mount_gradio_app(
        api,
        pages,
        path="/",
        auth_dependency=_user_name,
        theme=make_theme(),
        css_paths=STYLE,
        head=make_head(),
        favicon_path=FAVICON,
        footer_links=[],
        run_history=False,
        max_file_size=f"{context.settings.max_file_mb}mb",
        ssr_mode=False,
        show_error=True,
        enable_monitoring=False,
        mcp_server=False,
    )


def _user_name(request: Any) -> str:
    """Who sent an event, for Gradio, which takes "" for nobody. The wall has let nobody else in."""
    return request.state.user.name or "local"


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sends at once only where TCP is named
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:  # too large a number for a port is the second
        bound.close()
        raise UserError(f"port {port} on {host} cannot be used ({error}); give another one with --port") from error
    return bound
