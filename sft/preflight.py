"""`emendo tune check`: everything that can be known before the first step."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emendo.base_model import load_base, stop_token_ids
from emendo.chat_models import resolve_base
from emendo.records import Correction
from sft.check import Finding, check_data, check_rows, check_step, check_weights, histogram, sample
from sft.estimate import memory_of
from sft.examples import ExampleSet
from sft.train import TuneSettings, build_trainer, window_of, with_bits, with_loss


@dataclass(frozen=True)
class Preflight:
    findings: tuple[Finding, ...]
    lengths: tuple[tuple[int, int], ...] = ()  # (upper end in tokens, rows)
    sample: tuple[str, str] = ("", "")  # end of a prompt, and the labelled span after it

    @property
    def passed(self) -> bool:
        return all(finding.state != "fail" for finding in self.findings)


def preflight(base: str, data: ExampleSet, corrections: Sequence[Correction], settings: TuneSettings) -> Preflight:
    """All checks of a tuning run, none of its steps; UserError only for a base model that cannot be loaded at all."""
    base = resolve_base(base)
    settings = with_loss(base, data, with_bits(base, settings))
    findings = check_data(data, corrections)
    memory = memory_of(base, settings.bits, settings.rank)
    room = check_weights(memory, settings.bits)
    if room:
        return Preflight((*findings, *room))
    model, tokenizer = load_base(base, settings.bits, training=True)
    by_id = {correction.correction_id: correction for correction in corrections}
    choosing = settings.loss == "choices"
    rows = check_rows(data, by_id, tokenizer, stop_token_ids(model, tokenizer), window_of(model, settings), choosing)
    findings += rows.findings
    if not rows.train:
        return Preflight(tuple(findings))
    with tempfile.TemporaryDirectory(prefix="emendo-check-") as run:
        trainer = build_trainer(model, tokenizer, rows.train, rows.validation, Path(run), settings, lambda *_: None)
        findings += check_step(trainer, rows.train, rows.validation, memory, settings.bits)
    everything = [*rows.train, *rows.validation]
    return Preflight(tuple(findings), tuple(histogram(everything)), sample(rows.train[0], tokenizer))
