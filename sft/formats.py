"""Training examples in the field's JSONL formats, in and out.

| format | a row |
|---|---|
| messages | `{"messages": [{"role": "system" / "user" / "assistant", "content": text}, ...]}` (OpenAI, TRL) |
| prompt-completion | `{"prompt": text or messages, "completion": text or messages}` (TRL) |
| alpaca | `{"instruction": text, "input": text, "output": text, "system": text, "history": [[question, answer], ...]}` |
| sharegpt | `{"conversations": [{"from": "human" / "gpt" / "system", "value": text}, ...], "system": text}` |

A row may also say its `split` (train or validation) and its `cluster` (rows of one cluster stay on one side of the split).
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emendo.files import read_jsonl, write_whole
from emendo.records import Correction, Example, UserError, content_id
from sft.cleaning import Cleaned
from sft.examples import ExampleSet, ExampleSettings

Messages = list[dict[str, str]]
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_PAIR = ("user", "assistant")
SHOWN = 5  # faults named at once


def read_examples(path: Path, settings: ExampleSettings | None = None) -> tuple[ExampleSet, list[Correction]]:
    """The rows of a file in any of the formats, recognised by their keys, and the corrections that they amount to.

    UserError names the bad lines, each with its cure; nothing is returned from a bad file. A row that is there twice counts once.
    """
    faults: list[str] = []
    found: dict[str, Example] = {}
    twice: list[tuple[str, str]] = []
    for place, row in read_jsonl(path, "examples", faults):
        try:
            messages = _checked(_to_messages(row))
            split = _split_of(row)
        except UserError as error:
            faults.append(f"{place}: {error}")
            continue
        content = content_id(*(message["content"] for message in messages))
        name = str(row.get("correction_id") or f"{path.name}:{place.rpartition(':')[2]}")
        if content in found:
            twice.append((name, "said again"))
            continue
        cluster = row.get("cluster") or content_id(*(message["content"] for message in messages[:-1]))
        found[content] = Example(tuple(messages), name, str(cluster), split)  # type: ignore[arg-type]
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise UserError("; ".join(faults[:SHOWN]) + more)
    examples = _split(list(found.values()), settings or ExampleSettings())
    corrections = list({example.correction_id: _as_correction(example) for example in examples}.values())
    train, validation = (tuple(e for e in examples if e.split == split) for split in ("train", "validation"))
    return ExampleSet(train, validation, Cleaned(tuple(corrections), tuple(twice))), corrections


def write_examples(path: Path, data: ExampleSet, form: str) -> int:
    """All examples of both splits as JSONL; the number of rows."""
    rows = [*data.train, *data.validation]
    about = [{"correction_id": row.correction_id, "cluster": row.cluster, "split": row.split} for row in rows]
    lines = [{**FORMATS[form](list(row.messages)), **more} for row, more in zip(rows, about, strict=True)]
    write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return len(rows)


def _messages(messages: Messages) -> dict[str, Any]:
    return {"messages": messages}


def _prompt_completion(messages: Messages) -> dict[str, Any]:
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def _alpaca(messages: Messages) -> dict[str, Any]:
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    turns = [message["content"] for message in messages if message["role"] != "system"]
    history = [list(pair) for pair in zip(turns[:-2:2], turns[1:-2:2], strict=True)]
    return {"instruction": turns[-2], "input": "", "output": turns[-1], "system": system, "history": history}


def _sharegpt(messages: Messages) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return {"conversations": [{"from": names[message["role"]], "value": message["content"]} for message in messages]}


FORMATS: dict[str, Callable[[Messages], dict[str, Any]]] = {
    "messages": _messages,
    "prompt-completion": _prompt_completion,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
}


def _to_messages(row: dict[str, Any]) -> Any:
    """The row's messages, still unchecked; UserError for a row in none of the formats."""
    if "messages" in row:
        return row["messages"]
    if "prompt" in row and "completion" in row:
        return [*_side(row["prompt"], "user"), *_side(row["completion"], "assistant")]
    if "conversations" in row:
        turns = row["conversations"]
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise UserError('`conversations` is not a list of objects; write [{"from": "human", "value": text}, ...]')
        system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
        return [*system, *({"role": turn.get("from"), "content": turn.get("value")} for turn in turns)]
    if "instruction" in row and "output" in row:
        given = "\n\n".join(str(row[key]) for key in ("instruction", "input") if row.get(key))
        system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
        pairs = row.get("history") or []
        if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise UserError("`history` is not a list of pairs; write [[question, answer], ...]")
        history = [_side(turn, role) for pair in pairs for turn, role in zip(pair, _PAIR, strict=True)]
        return [
            *system,
            *(message for side in history for message in side),
            *_side(given, "user"),
            *_side(row["output"], "assistant"),
        ]
    keys = ", ".join(sorted(row)) or "nothing"
    raise UserError(
        f"has {keys}; expected messages, or prompt and completion, or instruction and output (alpaca), or conversations"
    )


def _side(value: Any, role: str) -> list[Any]:
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def _checked(messages: Any) -> Messages:
    """Messages a chat template takes: an optional system message, then user and assistant in turn, the last an answer."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise UserError('`messages` is not a list of objects; write [{"role": "user", "content": text}, ...]')
    made = []
    for message in messages:
        role = _ROLES.get(str(message.get("role")))
        if role is None:
            raise UserError(
                f"unknown role {message.get('role')!r}; expected system, user or assistant (human and gpt in sharegpt)"
            )
        content = message.get("content")
        if not isinstance(content, str):
            raise UserError(f"the content of the {role} turn is {type(content).__name__}; expected text")
        if not content.strip():
            raise UserError(f"the {role} turn is empty; write it or delete the row")
        made.append({"role": role, "content": content})
    roles = [message["role"] for message in made]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns[-1] != "assistant":
        raise UserError("the last turn is not the assistant's; a row ends in the answer to learn")
    if turns != ["user", "assistant"] * (len(turns) // 2):
        raise UserError(
            f"the turns are {', '.join(roles)}; expected user and assistant in turn, after at most one system message"
        )
    return made


def _split_of(row: dict[str, Any]) -> str:
    split = row.get("split", "")
    if split not in ("", "train", "validation"):
        raise UserError(f"split {split!r}; expected train or validation")
    return str(split)


def _split(examples: Sequence[Example], settings: ExampleSettings) -> list[Example]:
    """Rows that do not say their split get one, drawn by cluster."""
    free = sorted({example.cluster for example in examples if not example.split})
    random.Random(settings.seed).shuffle(free)
    held = set(free[: round(settings.validation_share * len(free))])
    return [
        example if example.split else dataclasses.replace(example, split="validation" if example.cluster in held else "train")
        for example in examples
    ]


def _as_correction(example: Example) -> Correction:
    """What the rest of tuning knows a row by; its passages stay in its prompt."""
    question, answer = (message["content"] for message in example.messages[-2:])
    return Correction(example.correction_id, "", question, (), "", answer, (), False, "wrong", "", "", cluster=example.cluster)
