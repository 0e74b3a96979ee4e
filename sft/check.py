"""What is checked before the first step: the examples, their tokens, and one step at the worst-case length."""

from __future__ import annotations

import copy
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from emendo.records import Correction, Example, UserError
from rag.prompt import PROMPT_VERSION
from sft.cleaning import NEARLY_SAME, contradictions, jaccard, shingles
from sft.encoding import Encoded, encode_choices, fit
from sft.estimate import GIB, Memory, backward_share, check_room, free_memory, kept_bytes
from sft.examples import ExampleSet

BUCKETS = (128, 256, 512, 1024, 2048, 4096, 8192)  # tokens, upper ends of the length histogram
SHOWN = 3  # faults named per finding
CONTEXT = 60  # tokens of the sample row's prompt that are shown


@dataclass(frozen=True)
class Finding:
    name: str
    state: Literal["ok", "note", "fail"]
    text: str


def require(findings: Sequence[Finding]) -> None:
    """UserError with everything that failed."""
    failed = [f"{finding.name}: {finding.text}" for finding in findings if finding.state == "fail"]
    if failed:
        raise UserError("; ".join(failed) + " (`emendo tune check` shows all)")


def check_data(data: ExampleSet, corrections: Sequence[Correction]) -> list[Finding]:
    """Counts, what is left out, rows said twice, contradictions, and leaks between training and validation."""
    told = f"{len(data.train)} to train on, {len(data.validation)} to validate"
    if not data.train:
        told += "; add rows to train on, or lower --set examples.validation_share=0.1"
    findings = [Finding("examples", "ok" if data.train else "fail", told)]
    if not data.validation:
        findings.append(Finding("validation", "note", "none: the best checkpoint cannot be told from the last one"))
    for reason, count in Counter(reason for _, reason in data.cleaned.dropped).most_common():
        findings.append(Finding("left out", "note", f"{count}: {reason}"))
    twice = Counter(_text(example) for example in data.train)
    repeated = sum(count - 1 for count in twice.values())
    findings.append(Finding("duplicates", "note" if repeated else "ok", f"{repeated} identical training rows"))
    findings.append(_contradictions(data, corrections))
    leaks = find_leaks(data.train, data.validation)
    told = "; ".join(leaks[:SHOWN]) + (f" and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else "")
    findings.append(Finding("leaks", "fail" if leaks else "ok", told or "none between training and validation"))
    return findings


def _contradictions(data: ExampleSet, corrections: Sequence[Correction]) -> Finding:
    """Of corrections one is learned, of the rows of a file all are."""
    queue = contradictions(corrections)
    if queue:
        told = f"{len(queue)} questions with differing answers; the latest wins, `emendo examples --contradictions` lists them"
        return Finding("contradictions", "note", told)
    answers: dict[str, set[str]] = {}
    for *prompt, answer in (example.messages for example in data.train):
        answers.setdefault("\n".join(message["content"] for message in prompt), set()).add(answer["content"])
    torn = sum(len(said) > 1 for said in answers.values())
    told = f"{torn} prompts with differing answers, which are all learned" if torn else "none"
    return Finding("contradictions", "note" if torn else "ok", told)


def find_leaks(train: Sequence[Example], validation: Sequence[Example]) -> list[str]:
    """Validation rows whose section or (nearly) whose question and answer is trained on; Jaccard of 5-word shingles."""
    clusters = {example.cluster for example in train}
    seen = {example.correction_id: _shingles(example) for example in train}
    holders: dict[str, set[str]] = {}  # shingle -> corrections, so that only rows that share one are compared
    for name, own in seen.items():
        for shingle in own:
            holders.setdefault(shingle, set()).add(name)
    leaks = []
    for example in validation:
        if example.cluster in clusters:
            leaks.append(f"correction {example.correction_id}: its section {example.cluster!r} is trained on")
            continue
        own = _shingles(example)
        rivals = sorted({name for shingle in own for name in holders.get(shingle, ())})
        twin = next((name for name in rivals if jaccard(own, seen[name]) >= NEARLY_SAME), None)
        if twin is not None:
            leaks.append(f"correction {example.correction_id} nearly equals {twin}, which is trained on")
    return leaks


def _text(example: Example) -> str:
    return "\n".join(message["content"] for message in example.messages)


def _shingles(example: Example) -> set[str]:
    question = example.messages[-2]["content"].rpartition("Question: ")[2]
    return shingles(question) | shingles(example.messages[-1]["content"])


@dataclass(frozen=True)
class Rows:
    """A data set ready to train on; `data` differs from what was given where passages were left out to fit the limit."""

    data: ExampleSet
    train: list[Encoded]
    validation: list[Encoded]
    findings: list[Finding]


def check_rows(
    data: ExampleSet,
    corrections: dict[str, Correction],
    tokenizer: Any,
    stop_ids: set[int],
    max_tokens: int,
    choosing: bool = False,
) -> Rows:
    """All examples encoded, and what is wrong with them: nothing is cut or dropped without a word.

    `choosing`: answers become units of their passages and their choices are learned, where there are such units.
    """
    faults: list[str] = []
    fitted: dict[str, list[tuple[Example, Encoded]]] = {"train": [], "validation": []}
    for example in (*data.train, *data.validation):
        try:
            correction = corrections[example.correction_id]
            found = fit(example, correction, tokenizer, stop_ids, max_tokens)
            if choosing:
                found = encode_choices(found[0], correction, tokenizer, stop_ids, max_tokens) or found
        except UserError as error:
            faults.append(str(error))
        else:
            fitted[example.split].append(found)
    train, validation = ([row for _, row in fitted[split]] for split in ("train", "validation"))
    findings = []
    distinct = list(dict.fromkeys(faults))
    if faults:
        told = "; ".join(distinct[:SHOWN]) + (f"; and {len(faults) - SHOWN} more" if len(distinct) > SHOWN else "")
        findings.append(Finding("rows", "fail", told))
    kept = ExampleSet(tuple(e for e, _ in fitted["train"]), tuple(e for e, _ in fitted["validation"]), data.cleaned)
    if train:
        before = Counter(len(example.passages) for example in (*data.train, *data.validation))
        after = Counter(len(example.passages) for example in (*kept.train, *kept.validation))
        findings += _lengths([*train, *validation], max_tokens, 0 if faults else (before - after).total())
        findings.append(_stopping([*train, *validation], tokenizer, stop_ids))
        findings.append(_loss_kind(train) if choosing else Finding("loss", "ok", "on the tokens of the answers"))
        findings.append(Finding("template", "ok", f"serving's prompt is an exact prefix of every row (prompt {PROMPT_VERSION})"))
    return Rows(kept, train, validation, findings)


def _lengths(rows: Sequence[Encoded], max_tokens: int, shortened: int) -> list[Finding]:
    lengths = sorted(len(row.input_ids) for row in rows)
    labelled = [row.labelled for row in rows]
    told = f"{lengths[0]} to {lengths[-1]} tokens, median {statistics.median(lengths):.0f}, limit {max_tokens}"
    found = [Finding("lengths", "ok", told)]
    if shortened:
        found.append(Finding("shortened", "note", f"{shortened} rows show fewer passages, to fit {max_tokens} tokens"))
    share = sum(labelled) / sum(lengths)
    empty = sum(count < 2 for count in labelled)  # the end-of-turn token alone teaches nothing but silence
    told = (
        f"{empty} rows have no answer to learn"
        if empty
        else f"{share:.1%} of the tokens, {min(labelled)} to {max(labelled)} a row"
    )
    found.append(Finding("labelled", "fail" if empty else "ok", told))
    return found


def _loss_kind(rows: Sequence[Encoded]) -> Finding:
    chosen = sum(bool(row.allowed) for row in rows)
    rest = len(rows) - chosen
    plain = f", on the tokens of {rest} (refusals, and answers that are no units of their passages)" if rest else ""
    return Finding("loss", "ok" if chosen else "note", f"on the choices of {chosen} rows{plain}")


def _stopping(rows: Sequence[Encoded], tokenizer: Any, stop_ids: set[int]) -> Finding:
    ends = Counter(row.input_ids[-1] for row in rows if row.completion_mask[-1])
    wrong = sum(count for end, count in ends.items() if end not in stop_ids) + len(rows) - sum(ends.values())
    names = ", ".join(f"{tokenizer.convert_ids_to_tokens(end)!r} ({end})" for end in ends)
    if wrong:
        return Finding("end of turn", "fail", f"{wrong} rows do not end in a labelled token at which generation stops")
    return Finding("end of turn", "ok", f"every row ends in {names}, labelled, and generation stops there")


def histogram(rows: Sequence[Encoded]) -> list[tuple[int, int]]:
    """(upper end in tokens, rows) of each bucket that holds any; the last bucket ends at the longest row."""
    counts: Counter[int] = Counter()
    for row in rows:
        length = len(row.input_ids)
        counts[next((end for end in BUCKETS if length <= end), length)] += 1
    return sorted(counts.items())


def sample(row: Encoded, tokenizer: Any) -> tuple[str, str]:
    """One row as the model sees it: the end of its prompt, and the answer with its end of turn."""
    start = row.completion_mask.index(1)
    return tokenizer.decode(row.input_ids[max(0, start - CONTEXT) : start]), tokenizer.decode(row.input_ids[start:])


def check_weights(memory: Memory, bits: str) -> list[Finding]:
    """A failure when weights and adapters alone do not fit; asked before anything is loaded."""
    short = check_room(memory, 0, 1, 1, free_memory(), bits)
    return [Finding("memory", "fail", short)] if short else []


def check_step(trainer: Any, rows: Sequence[Encoded], validation: Sequence[Encoded], memory: Memory, bits: str) -> list[Finding]:
    """Memory foretold from one short row, then a step each of training and evaluation on the longest rows; nothing is changed.

    The random state, the weights and the trainer's figures are as before, so that the run after it is the run without it.
    """
    import torch

    size = min(trainer.args.per_device_train_batch_size, len(trainer.train_dataset))
    by_length = sorted(rows, key=lambda row: len(row.input_ids), reverse=True)
    longest = list(itertools.islice(itertools.cycle(by_length), size))  # a batch of few rows runs on into the next epoch
    tokens = size * len(longest[0].input_ids)
    figures = copy.deepcopy(trainer._metrics), trainer._total_train_tokens
    with torch.random.fork_rng():
        try:
            shortest = by_length[-1]
            kept = kept_bytes(trainer.model, lambda: _loss(trainer, [shortest]).backward())  # and warms up
            need = Memory(memory.weights, memory.adapters, round(kept * backward_share(trainer.model) / len(shortest.input_ids)))
            # Weights and adapters are loaded; what is left must take the activations, gradients and Adam's moments.
            room = free_memory() + memory.weights + memory.adapters // 4
            short = check_room(need, tokens, len(longest[0].input_ids), size, room, bits)
            if short:
                return [Finding("memory", "fail", short)]
            found = [Finding("memory", "ok", f"a step needs about {need.total(tokens) / GIB:.2f} GiB, {room / GIB:.2f} are free")]
            return [*found, *_steps(trainer, longest, validation, tokens)]
        except (RuntimeError, MemoryError) as error:
            reason = (str(error).strip() or "no memory left").splitlines()[0]
            # torch's allocator on CPUs has no class of error of its own.
            if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "allocate memory" not in reason:
                raise
            cure = "--set tune.batch_size=1, --set tune.checkpointing=true or --set examples.passages=2"
            return [Finding("dry step", "fail", f"out of memory on the longest rows ({reason}); try {cure}")]
        finally:
            trainer.model.zero_grad()
            trainer._metrics, trainer._total_train_tokens = figures


def _steps(trainer: Any, longest: Sequence[Encoded], validation: Sequence[Encoded], tokens: int) -> list[Finding]:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    loss = _loss(trainer, longest)
    loss.backward()
    seconds = time.perf_counter() - start
    adapters = [p for n, p in trainer.model.named_parameters() if "lora_B" in n]
    dead = sum(p.grad is None or not bool(p.grad.abs().max() > 0) for p in adapters)
    name = "dry step"
    if not bool(torch.isfinite(loss)):
        return [Finding(name, "fail", f"the loss of the longest rows is {loss.item()}; check the base model")]
    if dead == len(adapters):
        return [Finding(name, "fail", "no gradient reaches the adapters; the base model passes none on")]
    told = f"{len(longest)} rows of up to {tokens // len(longest)} tokens: loss {loss.item():.3f}, {seconds:.1f} s"
    if torch.cuda.is_available():  # without Adam's moments, which come with the first update
        told += f", {torch.cuda.max_memory_allocated() / GIB:.2f} GiB at its peak"
    if validation:
        worst = sorted(validation, key=lambda row: len(row.input_ids))[-trainer.args.per_device_eval_batch_size :]
        trainer.model.eval()
        with torch.no_grad():
            told += f"; validation loss {_loss(trainer, worst).item():.3f}"
        trainer.model.train()
    total = sum(len(row) for row in trainer.train_dataset["input_ids"])
    return [Finding(name, "ok", told), Finding("time", "ok", f"about {_minutes(total / tokens * seconds)} for {total:,} tokens")]


def _loss(trainer: Any, rows: Sequence[Encoded]) -> Any:
    import torch

    features = [
        {
            "input_ids": r.input_ids,
            "labels": [i if m else -100 for i, m in zip(r.input_ids, r.completion_mask, strict=True)],
            "allowed": r.allowed,
        }
        for r in rows
    ]
    inputs = trainer._prepare_inputs(trainer.data_collator(features))
    with torch.autocast(trainer.args.device.type, torch.bfloat16, enabled=trainer.args.bf16):
        return trainer.compute_loss(trainer.model, inputs)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
