"""A cross-encoder that reads question and passage together; better than any other order, and the slowest. Off by default."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from emendo.quiet import quiet_libraries
from emendo.records import UserError

_PREFIX = "hf:"


class CrossEncoderRanker:
    """A sequence classification model with one output, from a folder or the hub's cache (Nogueira and Cho 2019).

    Loaded at the first question. UserError for another spec, a model that cannot be loaded, or one with several outputs.
    """

    def __init__(self, spec: str):
        if not spec.startswith(_PREFIX) or spec == _PREFIX:
            raise UserError(f"retrieve.rerank is {spec!r}; expected hf:<id or folder of a cross-encoder>, or nothing for none")
        self.name = spec.removeprefix(_PREFIX)

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the question, higher is better; comparable within one question."""
        if not texts:
            return []
        return [float(score) for score in self._model.predict([(question, text) for text in texts], show_progress_bar=False)]

    @cached_property
    def _model(self) -> Any:
        folder = Path(self.name).expanduser()
        if folder.is_dir():
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
        quiet_libraries()
        from sentence_transformers import CrossEncoder

        try:
            model = CrossEncoder(str(folder) if folder.is_dir() else self.name, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise UserError(
                f"retrieve.rerank {_PREFIX}{self.name} is neither a folder nor a model the hub gives ({type(error).__name__}); "
                "check it, or leave it out: --set retrieve.rerank="
            ) from error
        if model.num_labels != 1:
            raise UserError(f"retrieve.rerank {_PREFIX}{self.name} gives {model.num_labels} numbers; expected one, the relevance")
        return model
