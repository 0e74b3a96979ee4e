"""Where to refuse: the risk-coverage curve of a confidence, and the threshold that a question file asks for.

Selective prediction as in El-Yaniv and Wiener (2010, "On the foundations of noise-free selective classification"): coverage is
the share of questions that are answered, risk the share of the answered ones that have no answer in the manual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emendo.records import UserError

LEAST = 10  # questions of each kind; with fewer the threshold is chance
_FOLDS = 5


@dataclass(frozen=True)
class CurvePoint:
    """What refusing below `threshold` does; all but the threshold are shares."""

    threshold: float
    coverage: float
    risk: float
    refused_rightly: float  # of the unanswerable
    refused_wrongly: float  # of the answerable


@dataclass(frozen=True)
class RefusalFit:
    """A threshold fitted on one question file, as it is kept in the workspace."""

    refuse_below: float
    answerable: int
    unanswerable: int
    most_wrongly: float
    auroc: float  # that an answerable question has the higher confidence
    fitted: CurvePoint  # on the same questions
    held_out: CurvePoint  # each fifth scored by the threshold of the other four; its threshold is their mean
    questions_sha256: str
    index_id: str


def risk_coverage(confidences: Sequence[float], answerable: Sequence[bool], points: int = 11) -> list[CurvePoint]:
    """The curve at `points` even steps of coverage, from answering everything down to the surest few."""
    ranked = sorted(confidences)
    places = sorted({round(i * (len(ranked) - 1) / (points - 1)) for i in range(points)})
    return [at_threshold(confidences, answerable, ranked[place]) for place in places]


def at_threshold(confidences: Sequence[float], answerable: Sequence[bool], threshold: float) -> CurvePoint:
    rows = list(zip(confidences, answerable, strict=True))
    answered = [has_answer for confidence, has_answer in rows if confidence >= threshold]
    wrongly, rightly = sum(answerable) - sum(answered), len(rows) - sum(answerable) - (len(answered) - sum(answered))
    return CurvePoint(
        threshold,
        coverage=len(answered) / len(rows),
        risk=1 - sum(answered) / len(answered) if answered else 0.0,
        refused_rightly=rightly / max(len(rows) - sum(answerable), 1),
        refused_wrongly=wrongly / max(sum(answerable), 1),
    )


def best_threshold(confidences: Sequence[float], answerable: Sequence[bool], most_wrongly: float) -> float:
    """The highest threshold that refuses at most a share `most_wrongly` of the answerable, midway between two confidences."""
    good = sorted(confidence for confidence, has_answer in zip(confidences, answerable, strict=True) if has_answer)
    first_kept = good[int(most_wrongly * len(good) + 1e-9)]
    below = [confidence for confidence in confidences if confidence < first_kept]
    return (first_kept + max(below)) / 2 if below else first_kept / 2


def fit_refusal(
    confidences: Sequence[float], answerable: Sequence[bool], most_wrongly: float, questions_sha256: str, index_id: str
) -> RefusalFit:
    """UserError for fewer than LEAST questions of a kind, or a share outside 0 to 1."""
    count = sum(answerable)
    if min(count, len(answerable) - count) < LEAST:
        raise UserError(
            f"{count} answerable and {len(answerable) - count} unanswerable questions; a threshold needs at least {LEAST} "
            'of each (rows with "answerable": false ask what the manual does not say)'
        )
    if not 0 <= most_wrongly < 1:
        raise UserError(f"--wrongly {most_wrongly}: expected a share from 0 to below 1, for example 0.08")
    threshold = best_threshold(confidences, answerable, most_wrongly)
    return RefusalFit(
        threshold,
        count,
        len(answerable) - count,
        most_wrongly,
        _auroc(confidences, answerable),
        at_threshold(confidences, answerable, threshold),
        _held_out(confidences, answerable, most_wrongly),
        questions_sha256,
        index_id,
    )


def _held_out(confidences: Sequence[float], answerable: Sequence[bool], most_wrongly: float) -> CurvePoint:
    """Cross-validated; every fifth row of each kind is one fold."""
    margins, kinds, thresholds = [], [], []
    place = {True: 0, False: 0}
    folds = []
    for has_answer in answerable:
        folds.append(place[has_answer] % _FOLDS)
        place[has_answer] += 1
    for fold in range(_FOLDS):
        rest = [i for i, own in enumerate(folds) if own != fold]
        threshold = best_threshold([confidences[i] for i in rest], [answerable[i] for i in rest], most_wrongly)
        thresholds.append(threshold)
        for i, own in enumerate(folds):
            if own == fold:
                margins.append(confidences[i] - threshold)
                kinds.append(answerable[i])
    point = at_threshold(margins, kinds, 0.0)
    return CurvePoint(sum(thresholds) / _FOLDS, point.coverage, point.risk, point.refused_rightly, point.refused_wrongly)


def _auroc(confidences: Sequence[float], answerable: Sequence[bool]) -> float:
    """Mann-Whitney, ties counted half."""
    good = [c for c, has_answer in zip(confidences, answerable, strict=True) if has_answer]
    bad = [c for c, has_answer in zip(confidences, answerable, strict=True) if not has_answer]
    return sum((g > b) + 0.5 * (g == b) for g in good for b in bad) / (len(good) * len(bad))
