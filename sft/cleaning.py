"""Which corrections may become examples: what is dropped, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from emendo.records import Correction

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Cleaned:
    kept: tuple[Correction, ...]
    dropped: tuple[tuple[str, str], ...]  # (correction_id, reason)


def clean(corrections: Sequence[Correction]) -> Cleaned:
    """Drop what is empty, unchanged, not answerable from its passages, or said again; the latest of a question wins."""
    kept: dict[str, Correction] = {}
    dropped: list[tuple[str, str]] = []
    for correction in corrections:
        fault = _fault(correction)
        if fault:
            dropped.append((correction.correction_id, fault))
            continue
        key = (
            " ".join(_WORD.findall(correction.question.lower()))
            + "|"
            + (correction.hits[0].chunk.product if correction.hits else "")
        )
        if key in kept:
            same = kept[key].corrected == correction.corrected
            why = "said again" if same else "contradicted by a later correction of the same question"
            dropped.append((kept[key].correction_id, why))
            del kept[key]
        kept[key] = correction
    survivors, near = drop_near_duplicates(list(kept.values()))
    return Cleaned(tuple(survivors), tuple(dropped + near))


def drop_near_duplicates(
    corrections: Sequence[Correction], threshold: float = 0.8
) -> tuple[list[Correction], list[tuple[str, str]]]:
    """Keep the later of two rows whose question and answer share at least `threshold` (Jaccard) of their 5-word shingles."""
    kept: list[tuple[Correction, set[str]]] = []
    dropped: list[tuple[str, str]] = []
    holders: dict[str, set[str]] = {}  # shingle -> ids of kept rows, so that only rows that share one are compared
    for correction in reversed(corrections):
        own = shingles(correction.question) | shingles(correction.corrected)
        rivals = {other for shingle in own for other in holders.get(shingle, ())}
        twin = next((c for c, s in kept if c.correction_id in rivals and jaccard(own, s) >= threshold), None)
        if twin is not None:
            dropped.append((correction.correction_id, f"near-duplicate of {twin.correction_id}"))
            continue
        kept.append((correction, own))
        for shingle in own:
            holders.setdefault(shingle, set()).add(correction.correction_id)
    return [correction for correction, _ in reversed(kept)], dropped


def shingles(text: str, size: int = 5) -> set[str]:
    """Lower-case word n-grams; a shorter text is one shingle."""
    words = _WORD.findall(text.lower())
    return {" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def _fault(correction: Correction) -> str:
    if not correction.question.strip() or not correction.corrected.strip():
        return "empty question or answer"
    if correction.corrected.strip() == correction.rejected.strip():
        return "unchanged: the corrected answer is the bot's own"
    if correction.should_abstain:
        return ""
    if not set(correction.evidence) & {hit.chunk.chunk_id for hit in correction.hits}:
        # Learning a fact that is not in the prompt teaches a model to make facts up (Gekhman et al., arXiv 2405.05904).
        return "retrieval miss: no evidence passage among the recorded ones, so tuning cannot mend it"
    return ""
