"""Tasks beyond chat: one TOML file says what goes in, what comes out and which rows it is learned from and tested on.

| kind | the answer is |
|---|---|
| `label` | one of the labels |
| `list` | `k` items: candidates that the input offers, else words of the passages |
| `spans` | the terms that stand in the input, each with its type where there are `labels` |
| `text` | free text; for models that cannot write, sentences of the input |
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emendo.choices import Choices, word_groups
from emendo.config import make_settings
from emendo.files import read_jsonl
from emendo.records import Correction, Example, UserError
from emendo.units import split_units
from emendo.words import STOP_WORDS, stems
from rag.prompt import Message
from sft.cleaning import Cleaned
from sft.examples import ExampleSet

Kind = Literal["label", "list", "spans", "text"]
Passages = Callable[[str], tuple[str, ...]]  # input -> what is shown before it
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
OPTIONS = "Options:"  # begins the lines that offer candidates in an input
_MOST_SENTENCES = 3  # of an input that a `text` answer may consist of
_TYPE = " = "  # between a term and its type


@dataclass(frozen=True)
class Task:
    """One task file. Paths are relative to it."""

    kind: Kind
    prompt: str  # the instruction, as the system message
    train: str  # JSONL: id, input, output; optional candidates, facts, category, cluster
    test: str
    name: str = ""  # default: the file's name
    labels: str = ""  # comma-separated: the classes of `label`, the types of `spans`
    k: int = 5  # items of a `list`
    examples: int = 0  # nearest training rows shown with their answers before each input
    documents: str = ""  # file or folder from which passages are retrieved for each input
    passages: int = 2  # how many
    free: bool = False  # let hf: models write freely instead of choosing
    validation_share: float = 0.1  # of the training rows' clusters
    seed: int = 7

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(label.strip() for label in self.labels.split(",") if label.strip())


@dataclass(frozen=True)
class TaskRow:
    """One input with its right answer, the answer as text in the form the model writes (of a list its first `k` items)."""

    id: str
    input: str
    output: str
    items: tuple[str, ...]  # the answer's parts: the label, the items, the terms with their types, the facts
    category: str = ""
    cluster: str = ""


def load_task(path: Path) -> Task:
    """The task of a TOML file; UserError names what is wrong and what is expected."""
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"task file {path} does not exist; data/tasks/ has examples") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    missing = [key for key in ("kind", "prompt", "train", "test") if not table.get(key)]
    if missing:
        raise UserError(f"{path}: `{missing[0]}` is missing; a task needs kind, prompt, train and test")
    table.setdefault("name", path.stem)
    for key in ("train", "test", "documents"):
        if table.get(key):
            table[key] = str(path.parent / str(table[key]))
    task = make_settings(Task, table, path.name)
    if task.kind == "label" and len(task.classes) < 2:
        raise UserError(f"{path}: a label task needs at least two `labels`, as in labels = 'positive, negative'")
    if task.k < 1 or task.examples < 0 or task.passages < 0:
        raise UserError(f"{path}: k must be at least 1, examples and passages at least 0")
    return task


def load_rows(task: Task, file: str) -> list[TaskRow]:
    """The rows of a task's JSONL file; UserError for a bad line, an id given twice, an output that the task does not know."""
    rows: dict[str, TaskRow] = {}
    for place, row in read_jsonl(Path(file), "task rows"):
        made = _row(task, place, row)
        if made.id in rows:
            raise UserError(f"{place}: id {made.id!r} is given twice; give each row its own")
        rows[made.id] = made
    return list(rows.values())


def build_messages(task: Task, text: str, passages: Sequence[str] = ()) -> list[Message]:
    """The only prompt of a task, for tuning, judging and using it."""
    shown = [f"[{n}] {passage}" for n, passage in enumerate(passages, 1)]
    user = "\n\n".join([*shown, f"Question: {text}"])
    return [{"role": "system", "content": task.prompt}, {"role": "user", "content": user}]


def build_task_examples(task: Task, rows: Sequence[TaskRow], passages: Passages) -> ExampleSet:
    """Training rows as examples; a share of the clusters (of the rows, where they name none) is held back for validation.

    A model that chooses sentences learns the sentences it should have chosen: it could never print a text written anew.
    """
    clusters = sorted({row.cluster or row.id for row in rows})
    random.Random(task.seed).shuffle(clusters)
    held = set(clusters[: round(task.validation_share * len(clusters))])
    found: dict[str, list[Example]] = {"train": [], "validation": []}
    for row in rows:
        answer = {"role": "assistant", "content": choosable(row) if task.kind == "text" and not task.free else row.output}
        split = "validation" if (row.cluster or row.id) in held else "train"
        messages = (*build_messages(task, row.input, passages(row.input)), answer)
        found[split].append(Example(messages, row.id, row.cluster or row.id, split))  # type: ignore[arg-type]
    return ExampleSet(tuple(found["train"]), tuple(found["validation"]), Cleaned(tuple(map(as_correction, rows)), ()))


def choosable(row: TaskRow) -> str:
    """The sentences of the input that come nearest to the row's text, in order: first by the facts they hold, then by words.

    Greedy: a sentence is added while it adds a fact or, with as many facts, raises the F1 of the words.
    """
    units = [unit.text for unit in split_units(row.input, 0)]
    wanted = stems(row.output)
    facts = [[stems(wording) for wording in fact.split("|")] for fact in row.items]

    def worth(places: Sequence[int]) -> tuple[int, float]:
        said = stems(" ".join(units[place] for place in places))
        held = sum(any(words <= said for words in wordings) for wordings in facts)
        return held, 2 * len(said & wanted) / (len(said) + len(wanted)) if said or wanted else 0.0

    chosen: list[int] = []
    while len(chosen) < min(_MOST_SENTENCES, len(units)):
        best = max((sorted([*chosen, place]) for place in range(len(units)) if place not in chosen), key=worth)
        if chosen and worth(best) <= worth(chosen):
            break
        chosen = best
    return "\n".join(units[place] for place in chosen) or row.output


def as_correction(row: TaskRow) -> Correction:
    """A row is a corrected answer: nothing else is needed to learn from it."""
    return Correction(row.id, "", row.input, (), "", row.output, (), False, "wrong", "", "", cluster=row.cluster or row.id)


def task_choices(task: Task, text: str, passages: Sequence[str] = ()) -> Choices:
    """What a constrained model may answer to this input."""
    if task.kind == "label":
        return Choices(task.classes)
    if task.kind == "text":
        return Choices(tuple(unit.text for unit in split_units(text, 0)) or (text,), most=_MOST_SENTENCES)
    if task.kind == "list" and (offered := candidates(text)):
        return Choices(tuple(offered), least=min(task.k, len(offered)), most=task.k)
    if task.kind == "list":
        groups = [group for group in word_groups("\n".join(passages).lower()) if _is_term(group[0])]
        return _in_order(groups or [(text, 0, len(text))], task.k, task.k)
    groups = [(item + kind, start, end) for item, start, end in word_groups(text) if _is_term(item) for kind in _types(task)]
    return _in_order(groups or [(text, 0, len(text))], 1, 20)


def _in_order(groups: Sequence[tuple[str, int, int]], least: int, most: int) -> Choices:
    """Word groups of a text, to be printed in its order and without overlap: else one phrase would be given in every length."""
    return Choices(tuple(group[0] for group in groups), least, most, tuple((start, end) for _, start, end in groups))


def parse_output(task: Task, text: str) -> tuple[str, ...]:
    """The parts of an answer, as lower-case items in order, each once; a label that is not among the classes is kept as it is."""
    if task.kind == "label":
        words = text.strip().strip(".\"'*").casefold()
        return (next((label for label in task.classes if words.startswith(label.casefold())), words),)
    lines = [_BULLET.sub("", line).strip() for line in text.splitlines()]
    return tuple(dict.fromkeys(" ".join(line.casefold().split()) for line in lines if line))


def candidates(text: str) -> list[str]:
    """The options that an input offers, as the lines after `Options:`."""
    _, found, offered = text.rpartition(f"\n{OPTIONS}\n")
    return [_BULLET.sub("", line) for line in offered.splitlines() if line.strip()] if found else []


def _is_term(words: str) -> bool:
    """Neither begins nor ends with a word that carries no meaning of its own, such as "the"; a will may be a last one."""
    return not {words.split()[0].lower(), words.split()[-1].lower()} & (STOP_WORDS - {"will"})


def _types(task: Task) -> tuple[str, ...]:
    return tuple(_TYPE + label for label in task.classes) or ("",)


def _row(task: Task, place: str, row: dict[str, Any]) -> TaskRow:
    for key in ("id", "input"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise UserError(f"{place}: `{key}` is missing or empty; each row needs an id, an input and an output")
    text, offered = row["input"], row.get("candidates") or []
    if offered:
        text = "\n".join([text, OPTIONS, *(f"- {item}" for item in offered)])
    items = _items(task, place, row, offered)
    output = row["output"] if task.kind == "text" else "\n".join(items[: task.k] if task.kind == "list" else items)
    facts = tuple(map(str, row.get("facts") or ()))
    category = str(row.get("category") or task.kind)
    return TaskRow(row["id"], text, output, facts if task.kind == "text" else items, category, str(row.get("cluster") or ""))


def _items(task: Task, place: str, row: dict[str, Any], offered: Sequence[str]) -> tuple[str, ...]:
    """The parts of the gold answer, checked against what the task knows."""
    output = row.get("output")
    if task.kind in ("label", "text"):
        if not isinstance(output, str) or not output.strip():
            raise UserError(f"{place}: no gold; `output` must be text, got {output!r}")
        if task.kind == "label" and output not in task.classes:
            raise UserError(f"{place}: unknown label {output!r}; known: {', '.join(task.classes)}")
        return (output,)
    if not isinstance(output, list) or not output:
        raise UserError(f"{place}: no gold; `output` must be a list with at least one item, got {output!r}")
    if task.kind == "list":
        unknown = [item for item in output if not isinstance(item, str) or (offered and item not in offered)]
        if unknown:
            raise UserError(f"{place}: {unknown[0]!r} is not among the candidates")
        return tuple(item if offered else item.lower() for item in output)
    return tuple(_term(task, place, row["input"], entry) for entry in output)


def _term(task: Task, place: str, text: str, entry: Any) -> str:
    """`term` or `term = type` of one gold span: ["ramipril", "medical"], or just "ramipril" where the task has no types."""
    term, kind = entry if isinstance(entry, list) and len(entry) == 2 else (entry, "")
    if not isinstance(term, str) or term not in text:
        raise UserError(f"{place}: the term {term!r} does not stand in the input")
    if task.classes and kind not in task.classes:
        raise UserError(f"{place}: unknown type {kind!r} of {term!r}; known: {', '.join(task.classes)}")
    return term + (_TYPE + kind if task.classes else "")
