"""A workspace opened for answering: embedder, index, retriever and chat model put together."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from langchain_core.language_models import BaseChatModel

from emendo.chat_models import check_spec, load_chat_model
from emendo.config import Workspace, load_settings
from rag.answer import Answerer, AnswerSettings
from rag.embedder import Embedder, load_embedder
from rag.index import open_index
from rag.prompt import REFUSAL
from rag.retrieve import Retriever, RetrieveSettings

T = TypeVar("T")


@dataclass(frozen=True)
class IndexSettings:
    """[index] in emendo.toml."""

    embedder: str = "minilm"  # minilm | st:<folder or hub id> | hash


@dataclass(frozen=True)
class ModelSettings:
    """[model] in emendo.toml."""

    spec: str = "quote"  # see emendo/chat_models.py
    bits: str = "auto"  # auto | nf4 | bf16 | fp32, for hf: models


QUOTE_REFUSES_BELOW = 0.5  # of rag.confidence, which is fitted so that even odds are the natural border


@dataclass(frozen=True)
class Opener:
    """Opens the parts of one workspace with one set of settings."""

    workspace: Workspace
    overrides: Sequence[str] = ()

    def settings(self, cls: type[T], section: str) -> T:
        return load_settings(cls, section, self.overrides, self.workspace.settings)

    def embedder(self) -> Embedder:
        return load_embedder(os.environ.get("EMENDO_EMBEDDER") or self.settings(IndexSettings, "index").embedder)

    def retriever(self, embedder: Embedder | None = None) -> Retriever:
        """Of the live index; UserError when there is none yet."""
        embedder = embedder or self.embedder()
        index = open_index(self.workspace.index, embedder)
        return Retriever(index, embedder, self.settings(RetrieveSettings, "retrieve"))

    def check_model(self, spec: str = "") -> None:
        """UserError for a model spec that cannot be right, before anything is loaded."""
        check_spec(spec or self.settings(ModelSettings, "model").spec)

    def chat_model(self, spec: str = "", adapter: str = "", bits: str = "", embedder: Embedder | None = None) -> BaseChatModel:
        """The model of `spec` (default: the setting), with the adapter folder `adapter`."""
        chosen, answering = self.settings(ModelSettings, "model"), self.settings(AnswerSettings, "answer")
        spec, bits = spec or chosen.spec, bits or chosen.bits
        if adapter and spec.startswith("hf:"):
            spec = f"{spec.partition('+')[0]}+{adapter}"
            if bits == "auto":  # an adapter is served on the precision it was tuned on
                bits = tuned_bits(Path(adapter))
        verbatim = spec.startswith("hf:bundled") if answering.verbatim is None else answering.verbatim
        return load_chat_model(
            spec,
            bits=bits,
            max_new_tokens=answering.max_new_tokens,
            verbatim=verbatim,
            refusal=REFUSAL,
            embeddings=embedder,
        )

    def answerer(self, retriever: Retriever | None, model: BaseChatModel) -> Answerer:
        """With the refusal threshold the model needs: `quote` cannot decide by itself that no passage holds an answer."""
        settings = self.settings(AnswerSettings, "answer")
        if settings.refuse_below is None:
            quoting = getattr(model, "model_id", "") == "quote"
            settings = dataclasses.replace(settings, refuse_below=QUOTE_REFUSES_BELOW if quoting else 0.0)
        return Answerer(retriever, model, settings)


def tuned_bits(adapter: Path) -> str:
    """The precision named by the adapter's card; "auto" for an adapter made elsewhere."""
    card = adapter / "card.json"
    return str(json.loads(card.read_text(encoding="utf-8"))["settings"]["bits"]) if card.is_file() else "auto"
