"""A task asked and judged: its context, its answerer, and the same comparison and gate as chat."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, convert_to_messages

from emendo.records import AdapterCard, Answer, Question
from eval.compare import Background, evaluate
from eval.evaluation import ArmResult, Table
from eval.gate import Policy
from eval.intervals import wilson
from eval.leaks import Encode, TrainingText
from eval.report import Report
from eval.run import Arm, Progress, arm_key
from eval.task_metrics import GUARDS, PRIMARY, label_table, micro_f1, scoring_for
from eval.trials import ztest_report
from rag.answer import Ask
from rag.embedder import Embedder
from rag.retrieve import Retriever
from sft.tasks import Task, TaskRow, build_messages, parse_output, task_choices

BATCH = 32  # inputs handed to the model at once
_PATIENCE = 60.0  # seconds by which p95 may grow: who works through rows in batches waits for none of them


class TaskContext:
    """What is shown before an input: passages of the task's documents, and the nearest training rows with their answers."""

    def __init__(self, task: Task, training: Sequence[TaskRow], embedder: Embedder | None, retriever: Retriever | None):
        self.task, self.training = task, training
        self.embedder, self.retriever = embedder, retriever
        self._known: dict[str, tuple[str, ...]] = {}
        self._vectors = np.asarray(embedder.encode([row.input for row in training])) if embedder and task.examples else None

    def __call__(self, text: str) -> tuple[str, ...]:
        if text not in self._known:
            self._known[text] = (*self._passages(text), *self._examples(text))
        return self._known[text]

    def _passages(self, text: str) -> list[str]:
        hits = self.retriever.search(text, k=self.task.passages) if self.retriever else []
        return [f"{hit.chunk.header}\n{hit.chunk.text}" for hit in hits]

    def _examples(self, text: str) -> list[str]:
        """The nearest rows by cosine, never the input itself; the nearest stands last, next to the input."""
        if self._vectors is None or self.embedder is None:
            return []
        cosine = self._vectors @ np.asarray(self.embedder.encode([text]))[0]
        order = [row for row in np.argsort(-cosine, kind="stable") if self.training[row].input != text]
        nearest = [self.training[row] for row in reversed(order[: self.task.examples])]
        return [f"{row.input}\nAnswer: {row.output}" for row in nearest]


class TaskAnswerer:
    """Answers inputs of one task with one chat model."""

    def __init__(self, task: Task, model: BaseChatModel, context: TaskContext):
        self.task, self.model, self.context = task, model, context
        train, test, documents = (Path(path).name for path in (task.train, task.test, task.documents))
        # Without their folders: a run that was moved is still the same.
        self.settings = dataclasses.replace(task, train=train, test=test, documents=documents)
        self.retriever = context.retriever

    @property
    def model_id(self) -> str:
        return str(getattr(self.model, "model_id", None) or getattr(self.model, "model_name", type(self.model).__name__))

    @property
    def adapter_id(self) -> str:
        return str(getattr(self.model, "adapter_id", ""))

    def answer_many(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answers in the order asked, as one batch. An answer is never a refusal: its text may be empty."""
        messages = [self._messages(ask.question) for ask in asks]
        start = time.perf_counter()
        replies = self.model.batch(list(messages))
        seconds = (time.perf_counter() - start) / max(len(asks), 1)
        return [self._answer(ask.question, str(reply.content).strip(), seconds) for ask, reply in zip(asks, replies, strict=True)]

    def _messages(self, text: str) -> list[BaseMessage]:
        passages = self.context(text)
        messages = convert_to_messages(build_messages(self.task, text, passages))
        extra: dict[str, Any] = {"question": text}
        if not self.task.free:
            extra["choices"] = task_choices(self.task, text, passages)
        messages[-1].additional_kwargs = extra
        return messages

    def _answer(self, question: str, text: str, seconds: float) -> Answer:
        ids = (self.model_id, self.adapter_id, "", "")
        return Answer(uuid.uuid4().hex, question, question, text, (), (), False, 1.0, *ids, timings={"generate": seconds})


def as_question(task: Task, row: TaskRow) -> Question:
    """A row as the evaluation sees it; the gold answer holds all items, also those beyond a list's `k`."""
    answer = row.output if task.kind == "text" else "\n".join(row.items)
    return Question(row.id, row.input, True, answer, row.items, category=row.category, cluster=row.cluster)


def task_policy(task: Task, policy: Policy) -> Policy:
    """The gate's policy with the task's own primary metric and guards, and more patience."""
    slack = max(policy.latency_slack, _PATIENCE)
    return dataclasses.replace(policy, primary=PRIMARY[task.kind], guards=GUARDS[task.kind], latency_slack=slack)


def evaluate_task(
    task: Task,
    rows: Sequence[TaskRow],
    training: Sequence[TaskRow],
    base: Callable[[], TaskAnswerer],
    tuned: Callable[[], TaskAnswerer],
    out: Path,
    card: AdapterCard,
    policy: Policy,
    encode: Encode | None = None,
    progress: Progress | None = None,
    losses: Sequence[Mapping[str, float]] = (),
    attempts: int = 1,
    command: str = "",
) -> Report:
    """Base against tuned on the test rows: paired tests, leak check, gate and report.

    Only free texts are compared as answers in the leak check: a label or a term is the right answer to many inputs.
    """
    questions = [as_question(task, row) for row in rows]
    answers = task.kind == "text"
    texts = [TrainingText(row.input, row.output if answers else "", row.cluster) for row in training]
    background = Background(
        training=card,
        training_texts=texts,
        encode=encode,
        losses=losses,
        attempts=attempts,
        command=command,
        tables=lambda arms: own_tables(task, questions, arms),
    )
    arms = [Arm("base", True, base), Arm("tuned", True, tuned, card.adapter_id)]
    return evaluate(questions, arms, out, task_policy(task, policy), background, progress, BATCH, scoring=scoring_for(task))


def own_tables(task: Task, questions: Sequence[Question], arms: Mapping[str, ArmResult]) -> list[Table]:
    """What the paired metrics do not hold: classes and confusions of labels, F1 over all items, trials of lists."""
    if task.kind == "label":
        return [table for key, arm in arms.items() for table in _label_tables(task, questions, key, arm)]
    if task.kind == "text":
        return []
    rows = [(key, f"{micro_f1(task, questions, arm.answers):.3f}", str(len(arm.answers))) for key, arm in arms.items()]
    tables = [Table("F1 over the items of all rows together", ("arm", "micro F1", "rows"), tuple(rows))]
    return tables + _trials(arms) if task.kind == "list" else tables


def _label_tables(task: Task, questions: Sequence[Question], key: str, arm: ArmResult) -> list[Table]:
    asked = [q for q in questions if q.id in arm.answers]
    if not asked:
        return []
    given = [parse_output(task, arm.answers[q.id].text)[0] for q in asked]
    found = label_table([q.answer for q in asked], given, task.classes)
    span = wilson(round(found.accuracy * len(asked)), len(asked))
    classes = [(c.label, f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", str(c.support)) for c in found.classes]
    classes.append(("macro", "", "", f"{found.macro_f1:.3f}", str(len(asked))))
    title = f"{key}: accuracy {found.accuracy:.3f} [{span.low:.3f}, {span.high:.3f}], n = {len(asked)}"
    columns = [*task.classes, *sorted({label for _, label in found.confusion} - set(task.classes))]
    counts = [(gold, *(str(found.confusion.get((gold, label), 0)) for label in columns)) for gold in task.classes]
    return [
        Table(title, ("class", "precision", "recall", "F1", "rows"), tuple(classes)),
        Table(f"{key}: right label (row) against given label (column)", ("right", *columns), tuple(counts)),
    ]


def _trials(arms: Mapping[str, ArmResult]) -> list[Table]:
    """Right items per row of the tuned arm tested against the base arm's mean and sd, as trials against a known history."""
    first, second = (arms.get(arm_key(name, True)) for name in ("base", "tuned"))
    if first is None or second is None:
        return []
    old, new = ([s.value or 0.0 for s in arm.scores["list_successes"].values()] for arm in (first, second))
    if len(old) < 2 or len(new) < 2 or np.std(old) == 0:
        return []
    mean, sd = float(np.mean(old)), float(np.std(old, ddof=1))
    _, found = ztest_report(new, mean, sd, baseline_trials=len(old))
    rows = [("z", f"{found['z']:.2f}", f"{found['p']:.2g}")]
    if "t_test" in found:
        rows.append(("t", f"{found['t_test']['statistic']:.2f}", f"{found['t_test']['p']:.2g}"))
    rows.append(("z, base mean estimated", "", f"{found['baseline_p'][str(len(old))]:.2g}"))
    title = (
        f"Right items per row, each row a trial: {found['mean']:.2f} tuned against {mean:.2f} (sd {sd:.2f}) base, n = {len(new)}"
    )
    return [Table(title, ("test (one-sided)", "statistic", "p"), tuple(rows))]
