"""The before/after comparison of one adapter on one question file, as `emendo eval run` and the demo do it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emendo.hf_model import HFChatModel
from emendo.records import AdapterCard, Correction, Question, content_id
from eval.compare import Background, evaluate, generate
from eval.gate import Policy, lock_policy
from eval.history import count_attempts
from eval.leaks import TrainingText
from eval.llm_judge import Judge
from eval.questions import questions_sha256
from eval.report import Report
from eval.run import Arm
from rag.answer import Answerer
from rag.assemble import Opener
from rag.retrieve import Retriever

BATCH = 96  # questions handed to the model at once; it sorts them by length and pads smaller batches


@dataclass
class Trial:
    """Base and tuned model, each with and without retrieval, on the same questions. Models are loaded when first needed."""

    opened: Opener
    model: str  # hf: spec without adapter
    bits: str
    questions: Sequence[Question]
    retriever: Retriever
    progress: Callable[[str, int, int], None] | None = None
    general: Sequence[Question] = ()  # asked without passages, to see what was forgotten
    referee: Judge | None = None  # a language model that compares the answers
    _loaded: HFChatModel | None = None
    _searched: dict[Any, Any] = field(default_factory=dict)  # base and tuned get the same passages: searched for once

    def base_arms(self) -> list[Arm]:
        return [Arm("base", rag, self._answerer("", rag)) for rag in (True, False)]

    def tuned_arms(self, folder: Path) -> list[Arm]:
        return [Arm("tuned", rag, self._answerer(str(folder), rag), folder.name) for rag in (True, False)]

    def run_folder(self, name: str) -> Path:
        """One folder for each base, question file and index, so that base answers are not asked for twice."""
        identity = content_id(self.model, self.bits, questions_sha256(self.questions), self.retriever.index.index_id, length=8)
        return self.opened.workspace.runs / f"{identity}-{name}"

    def ask_base(self, out: Path, policy: Policy) -> None:
        lock_policy(policy, out)
        generate(self.questions, self.base_arms(), out, self.progress, BATCH)

    def judge(
        self, adapter: Path, card: AdapterCard, corrections: Sequence[Correction], out: Path, policy: Policy, command: str
    ) -> Report:
        """All four arms (answered ones are not asked again), the leak check, the gate and the report, which names `command`."""
        background = Background(
            training=card,
            training_texts=training_texts(card, corrections),
            encode=self.retriever.embedder.encode,
            losses=json.loads((adapter / "losses.json").read_text(encoding="utf-8")),
            attempts=count_attempts(self.opened.workspace.runs, self.questions, card.adapter_id),
            command=command,
            referee=self.referee,
        )
        arms = [*self.base_arms(), *self.tuned_arms(adapter)]
        return evaluate(self.questions, arms, out, policy, background, self.progress, BATCH, general=self.general)

    def _answerer(self, adapter: str, rag: bool) -> Callable[[], Answerer]:
        def make() -> Answerer:
            if self._loaded is None:
                self._loaded = self.opened.chat_model(self.model, "", self.bits)  # type: ignore[assignment]
            assert self._loaded is not None
            self._loaded.set_adapter(adapter or None)
            answerer = self.opened.answerer(self.retriever if rag else None, self._loaded)
            answerer.searched = self._searched if rag else None
            return answerer

        return make


def training_texts(card: AdapterCard, corrections: Sequence[Correction]) -> list[TrainingText]:
    """What the adapter was trained on, for the leak check."""
    learned = set(card.correction_ids)
    return [TrainingText(c.question, c.corrected, c.cluster) for c in corrections if c.correction_id in learned]
