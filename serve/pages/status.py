"""The status page: what answers now and what it was made from, who waits, what the machine is, which versions run."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import gradio as gr
import psutil

from emendo import __version__
from emendo.accounts import User
from emendo.records import UserError
from serve.render import facts_html, note_html
from serve.session import ServeContext

PACKAGES = ("gradio", "langchain-core", "torch", "transformers", "faiss-cpu")
GIB = 2**30
BACKUP = (
    "<h3>Backup</h3><p class='muted'>At the command line, also while this runs: <code>emendo backup FILE.zip</code>. "
    "Into a new workspace: <code>emendo --workspace FOLDER restore FILE.zip</code>.</p>"
)


class StatusPage:
    def __init__(self, context: ServeContext):
        self.context = context
        with gr.Column(elem_classes="page"):
            gr.HTML("<h2>Status</h2><p class='muted'>Any answer can be traced to these ids.</p>")
            self.facts = gr.HTML("", elem_id="status-facts")
            self.reload = gr.Button("Load the newest index and the promoted model", size="sm", elem_id="reload")

    def wire(self, tab: gr.Tab) -> None:
        tab.select(self.facts_html, None, self.facts, show_progress="hidden")
        self.reload.click(self.reload_now, None, self.facts)

    def reload_now(self) -> str:
        try:
            self.context.user("admin")
            self.context.reload()
        except UserError as error:
            return note_html(str(error)) + self.facts_html()
        gr.Info("The newest index and the promoted model answer now.", duration=3)
        return self.facts_html()

    def facts_html(self) -> str:
        user = self.context.user()
        parts = [("Answering", self._answering()), ("Index", self._index()), ("Machine", machine_facts())]
        parts.append(("Versions", self._versions(user)))
        return "".join(f"<h3>{title}</h3>{facts_html(facts)}" for title, facts in parts) + BACKUP

    def _answering(self) -> list[tuple[str, str]]:
        context = self.context
        running, waiting = context.queue.counts()
        rows = context.store.corrections()
        count = {status: sum(row.status == status for _, row in rows) for status in ("open", "approved", "rejected")}
        tuning = context.tuning.state()
        return [
            ("Model", context.answerer.model_id),
            ("Adapter in use", context.answerer.adapter_id or "none"),
            ("Adapter promoted", context.store.promoted() or "none, the base model serves"),
            ("Queue", f"{running} being answered (at most {context.queue.at_once} at once), {waiting} waiting"),
            ("Indexing", "under way" if context.indexing.locked() else "idle"),
            ("Tuning", f"{tuning.kind} under way" if tuning.running else "idle"),
            ("Corrections", ", ".join(f"{number} {status}" for status, number in count.items())),
        ]

    def _index(self) -> list[tuple[str, str]]:
        index = self.context.index
        if index is None:
            return [("Index", "none yet: add a manual on the Documents page")]
        manifest = index.manifest
        return [
            ("Index", index.index_id),
            ("Documents", f"{manifest.documents}, {manifest.chunks} passages"),
            ("Embedder", f"{manifest.embedder_id}, {manifest.dimension} dimensions"),
            ("Chunking", ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in manifest.chunking.items())),
            ("Format", f"version {manifest.format_version}"),
            *((f"sha256 of {name}", digest) for name, digest in manifest.sha256.items()),
        ]

    def _versions(self, user: User) -> list[tuple[str, str]]:
        place = [("Workspace", str(self.context.workspace.root))] if user.may("admin") else []
        packages = [(name, version(name)) for name in PACKAGES]
        return [("Emendo", __version__), ("Python", platform.python_version()), *packages, *place]


def machine_facts() -> list[tuple[str, str]]:
    """Processor, GPU where torch has been loaded and sees one, memory of the machine and of this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory, own = psutil.virtual_memory(), psutil.Process().memory_info().rss
    return [
        ("Processor", f"{_processor()}, {cores} cores"),
        ("GPU", _gpu() or "none: models run on the processor"),
        ("Memory", f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f}; this server uses {own / GIB:.1f}"),
    ]


def _processor() -> str:
    """Its name as Linux tells it, elsewhere its kind."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8", errors="replace").splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu() -> str:
    torch = sys.modules.get("torch")  # the embedder and hf: models load it; this page does not
    if torch is None or not torch.cuda.is_available():
        return ""
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / GIB:.0f} GiB"
