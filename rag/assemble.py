"""A workspace opened for answering: embedder, index, retriever and chat model put together."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel

from emendo.chat_models import check_spec, load_chat_model
from emendo.config import Workspace, load_settings
from emendo.records import UserError
from rag.answer import Answerer, AnswerSettings
from rag.context import ContextCost, ContextWriter, check_writer
from rag.embedder import DEFAULT, Embedder, load_embedder
from rag.index import open_index
from rag.prompt import REFUSAL
from rag.retrieve import Retriever, RetrieveSettings

T = TypeVar("T")


@dataclass(frozen=True)
class IndexSettings:
    """[index] in emendo.toml."""

    embedder: str = DEFAULT  # minilm-manuals | minilm | st:<folder or hub id> | hash
    ocr: str = ""  # languages to read scanned pages in, as Tesseract names them: eng, eng+deu; "" leaves them out
    context: str = ""  # model that writes a context for every passage (see rag/context.py); "" for none


@dataclass(frozen=True)
class ModelSettings:
    """[model] in emendo.toml."""

    spec: str = "quote"  # see emendo/chat_models.py
    bits: str = "auto"  # auto | nf4 | bf16 | fp32, for hf: models


# Below this rag.confidence no answer is tried by models that cannot judge it themselves, unless `emendo eval refusal` fitted
# another value on questions of the user's own; docs/answers.md has the figures behind these.
REFUSES_BELOW = 0.35


@dataclass(frozen=True)
class Opener:
    """Opens the parts of one workspace with one set of settings."""

    workspace: Workspace
    overrides: Sequence[str] = ()

    def settings(self, cls: type[T], section: str) -> T:
        return load_settings(cls, section, self.overrides, self.workspace.settings)

    def embedder_spec(self) -> str:
        """$EMENDO_EMBEDDER, else the setting."""
        return os.environ.get("EMENDO_EMBEDDER") or self.settings(IndexSettings, "index").embedder

    def embedder(self) -> Embedder:
        return load_embedder(self.embedder_spec())

    def retriever(self, embedder: Embedder | None = None) -> Retriever:
        """Of the live index; UserError when there is none yet."""
        embedder = embedder or self.embedder()
        index = open_index(self.workspace.index, embedder)
        return Retriever(index, embedder, self.settings(RetrieveSettings, "retrieve"))

    def check_model(self, spec: str = "") -> None:
        """UserError for a model spec that cannot be right, before anything is loaded."""
        check_spec(spec or self.settings(ModelSettings, "model").spec)

    def chat_model(self, spec: str = "", adapter: str = "", bits: str = "") -> BaseChatModel:
        """The model of `spec` (default: the setting), with the adapter folder `adapter`."""
        chosen = self.settings(ModelSettings, "model")
        spec, bits = spec or chosen.spec, bits or chosen.bits
        if adapter and spec.startswith("hf:"):
            spec = f"{spec.partition('+')[0]}+{adapter}"
            if bits == "auto":  # an adapter is served on the precision it was tuned on
                bits = tuned_bits(Path(adapter))
        answering = self.answer_settings(spec)
        return load_chat_model(
            spec,
            bits=bits,
            max_new_tokens=answering.max_new_tokens,
            verbatim=bool(answering.verbatim),
            refusal=REFUSAL,
        )

    def context_writer(self, tell: Callable[[ContextCost], None]) -> ContextWriter | None:
        """Of the model set for contexts, None where none is set; UserError for a model that only quotes."""
        spec = self.settings(IndexSettings, "index").context
        if not spec:
            return None
        check_writer(spec)
        return ContextWriter(self.chat_model(spec), spec, tell)

    def answerer(self, retriever: Retriever | None, model: BaseChatModel) -> Answerer:
        return Answerer(retriever, model, self.answer_settings(str(getattr(model, "model_id", ""))))

    def answer_settings(self, model: str) -> AnswerSettings:
        """[answer] with what is left open decided for the model.

        `quote` and the bundled model cannot tell that no passage holds an answer; the bundled one is also too small to write
        its own sentences or to read many whole passages.
        """
        settings, small = self.settings(AnswerSettings, "answer"), model.startswith("hf:bundled")
        refuse_below = REFUSES_BELOW if small or model == "quote" else 0.0
        defaults: dict[str, Any] = {
            "refuse_below": (refuse_below and self._fitted_refusal()) or refuse_below,
            "verbatim": small,
            "focus_units": 3 if small else 0,
            "passages": 2 if small else 4,
            "whole_sections": not (small or model == "quote" or settings.verbatim or settings.focus_units),
        }
        missing = {name: value for name, value in defaults.items() if getattr(settings, name) is None}
        return dataclasses.replace(settings, **missing)

    def _fitted_refusal(self) -> float | None:
        """The threshold that `emendo eval refusal` left in this workspace; None where it was not fitted."""
        file = self.workspace.refusal
        if not file.is_file():
            return None
        try:
            return float(json.loads(file.read_text(encoding="utf-8"))["refuse_below"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged; fit it again with `emendo eval refusal`, or delete it") from error


def tuned_bits(adapter: Path) -> str:
    """The precision named by the adapter's card; "auto" for an adapter made elsewhere."""
    card = adapter / "card.json"
    return str(json.loads(card.read_text(encoding="utf-8"))["settings"]["bits"]) if card.is_file() else "auto"
