"""The records of one evaluation: what was answered, scored, compared and decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emendo.records import AdapterCard, Answer, Question, Score
from eval.gate import Gate, Latency, Policy
from eval.health import Regurgitation
from eval.intervals import Interval
from eval.leaks import LeakCheck
from eval.metrics import Metric
from eval.run import arm_key
from eval.stats import Comparison


@dataclass(frozen=True)
class ArmResult:
    """Answers and scores of one arm, both by question id in question order."""

    key: str
    manifest: Mapping[str, Any]
    answers: Mapping[str, Answer]
    scores: Mapping[str, Mapping[str, Score]]  # metric -> question id -> Score


@dataclass(frozen=True)
class Estimate:
    """A mean of one arm."""

    value: float
    interval: Interval
    n: int


@dataclass(frozen=True)
class TableRow:
    """One metric before and after; `comparison` is None where no question was scored in both arms, then `reason` says why."""

    metric: Metric
    rag: bool
    before: Estimate | None
    after: Estimate | None
    comparison: Comparison | None
    unscored: int  # questions that lack a score in at least one arm
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a task that the paired metrics do not hold, such as a confusion matrix."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Evaluation:
    """All that the report shows."""

    questions: tuple[Question, ...]
    before: str  # names of the two sides
    after: str
    arms: Mapping[str, ArmResult]  # by arm key
    rows: tuple[TableRow, ...]
    slices: Mapping[str, Comparison]  # primary metric by category, with RAG
    latency: Latency | None
    leaks: LeakCheck | None
    policy: Policy
    gate: Gate
    primary: Comparison | None
    attempts: int
    training: AdapterCard | None
    regurgitation: Mapping[str, Regurgitation]  # by arm key; empty where no training text was named
    losses: Sequence[Mapping[str, float]]  # the trainer's log: step with loss or eval_loss
    command: str
    tables: tuple[Table, ...] = ()
    locked: bool = False  # the policy was locked before the answers were made
    watch: bool = False  # asked whether anything got worse, not whether the second side is better

    def arm(self, side: str, rag: bool = True) -> ArmResult | None:
        """The arm of one side, `before` or `after`; None where it was not run."""
        return self.arms.get(arm_key(side, rag))
