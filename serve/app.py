"""The Gradio app: four pages over one ServeContext."""

from __future__ import annotations

from typing import Any

from emendo.records import UserError
from serve.session import ServeContext
from serve.theme import FAVICON, STYLE, make_head, make_theme

LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADER = f'<header id="brand">{FAVICON.read_text(encoding="utf-8")}<h1>Emendo</h1></header>'


def build_app(context: ServeContext) -> Any:
    """The gr.Blocks of all pages; `serve` launches it."""
    import gradio as gr

    from serve.pages.chat import ChatPage
    from serve.pages.corrections import CorrectionsPage
    from serve.pages.documents import DocumentsPage
    from serve.pages.status import StatusPage

    day = 24 * 60 * 60
    with gr.Blocks(title="Emendo", analytics_enabled=False, fill_width=True, delete_cache=(day, day)) as app:
        gr.HTML(HEADER)
        with gr.Tabs(elem_id="pages"):
            with gr.Tab("Chat"):
                chat = ChatPage(context)
            with gr.Tab("Documents"):
                documents = DocumentsPage(context)
            with gr.Tab("Corrections") as corrections_tab:
                corrections = CorrectionsPage(context)
            with gr.Tab("Status") as status_tab:
                status = StatusPage(context)
        chat.wire(app)
        documents.wire(app)
        corrections.wire(corrections_tab)
        status.wire(status_tab)
        documents.changed.change(chat.greet, None, chat.greeted, show_progress="hidden")
    return app


def serve(context: ServeContext, host: str = "127.0.0.1", port: int = 7860, open_browser: bool = False) -> None:
    """Serve until interrupted. Raises UserError when the port is taken, and for a host that others can reach."""
    if host not in LOOPBACK:
        raise UserError(
            f"--host {host} would open every conversation and document to the network, and there are no users to sign in yet; "
            "serve on 127.0.0.1 and reach it through a tunnel: ssh -L 7860:127.0.0.1:7860 HOST"
        )
    app = launch(context, host, port, open_browser)
    app.block_thread()


def launch(context: ServeContext, host: str = "127.0.0.1", port: int = 7860, open_browser: bool = False) -> Any:
    """Start the server in threads of its own and return the running gr.Blocks; `.close()` ends it."""
    app = build_app(context).queue(max_size=100)
    try:
        app.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            show_error=True,
            theme=make_theme(),
            css_paths=STYLE,
            head=make_head(),
            favicon_path=FAVICON,
            footer_links=[],
            max_file_size=f"{context.settings.max_file_mb}mb",
            ssr_mode=False,
            enable_monitoring=False,
        )
    except OSError as error:
        raise UserError(f"port {port} on {host} cannot be used ({error}); give another one with --port") from error
    return app
