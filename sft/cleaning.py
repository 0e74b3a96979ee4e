"""Which corrections may become examples: what is dropped, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from emendo.records import Correction
from rag.citations import CITATION

_WORD = re.compile(r"\w+")
NEARLY_SAME = 0.8  # Jaccard of 5-word shingles from which on two rows say the same


@dataclass(frozen=True)
class Cleaned:
    kept: tuple[Correction, ...]
    dropped: tuple[tuple[str, str], ...]  # (correction_id, reason)


def clean(corrections: Sequence[Correction]) -> Cleaned:
    """Drop what is empty, not answerable from its passages, or said again; the latest of a question wins.

    A row whose answer a person left as it was is kept: it is an approved answer. Without these, tuning would see only where the
    model was wrong and unlearn what it did right (of the sample's 48 refusals, 30 are such).
    """
    kept: dict[str, Correction] = {}
    dropped: list[tuple[str, str]] = []
    for correction in corrections:
        fault = _fault(correction)
        if fault:
            dropped.append((correction.correction_id, fault))
            continue
        key = _asked(correction)
        if key in kept:
            same = kept[key].corrected == correction.corrected
            why = "said again" if same else "contradicted by a later correction of the same question"
            dropped.append((kept[key].correction_id, why))
            del kept[key]
        kept[key] = correction
    survivors, near = drop_near_duplicates(list(kept.values()))
    return Cleaned(tuple(survivors), tuple(dropped + near))


def contradictions(corrections: Sequence[Correction]) -> list[tuple[Correction, ...]]:
    """The groups of corrections, not rejected, that answer the same question on the same product differently; oldest first.

    Nobody but a person can tell which is right: until one is rejected, `clean` takes the latest.
    """
    groups: dict[str, list[Correction]] = {}
    for correction in corrections:
        if correction.status != "rejected" and not _fault(correction):
            groups.setdefault(_asked(correction), []).append(correction)
    return [tuple(group) for group in groups.values() if len({_said(correction) for correction in group}) > 1]


def _asked(correction: Correction) -> str:
    """The question's words and the product they were asked of."""
    product = correction.hits[0].chunk.product if correction.hits else ""
    return " ".join(_WORD.findall(correction.question.lower())) + "|" + product


def _said(correction: Correction) -> str:
    return " ".join(_WORD.findall(CITATION.sub("", correction.corrected).lower()))


def drop_near_duplicates(corrections: Sequence[Correction]) -> tuple[list[Correction], list[tuple[str, str]]]:
    """Keep the later of two rows whose question and answer are nearly the same; (kept, [(correction_id, reason)])."""
    kept: list[tuple[Correction, set[str]]] = []
    dropped: list[tuple[str, str]] = []
    holders: dict[str, set[str]] = {}  # shingle -> ids of kept rows, so that only rows that share one are compared
    for correction in reversed(corrections):
        own = shingles(correction.question) | shingles(correction.corrected)
        rivals = {other for shingle in own for other in holders.get(shingle, ())}
        twin = next((c for c, s in kept if c.correction_id in rivals and jaccard(own, s) >= NEARLY_SAME), None)
        if twin is not None:
            dropped.append((correction.correction_id, f"near-duplicate of {twin.correction_id}"))
            continue
        kept.append((correction, own))
        for shingle in own:
            holders.setdefault(shingle, set()).add(correction.correction_id)
    return [correction for correction, _ in reversed(kept)], dropped


def twins(correction: Correction, others: Sequence[Correction]) -> list[Correction]:
    """The other corrections of the same question and product, or whose question and answer are nearly these."""
    own = shingles(correction.question) | shingles(correction.corrected)
    asked = _asked(correction)
    return [
        other
        for other in others
        if other.correction_id != correction.correction_id
        and (_asked(other) == asked or jaccard(own, shingles(other.question) | shingles(other.corrected)) >= NEARLY_SAME)
    ]


def shingles(text: str, size: int = 5) -> set[str]:
    """Lower-case word n-grams; a shorter text is one shingle."""
    words = _WORD.findall(text.lower())
    return {" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def _fault(correction: Correction) -> str:
    if not correction.question.strip() or not correction.corrected.strip():
        return "empty question or answer"
    if correction.should_abstain:
        return ""
    if not set(correction.evidence) & {hit.chunk.chunk_id for hit in correction.hits}:
        # Learning a fact that is not in the prompt teaches a model to make facts up (Gekhman et al., arXiv 2405.05904).
        return "retrieval miss: no evidence passage among the recorded ones, so tuning cannot mend it"
    return ""
