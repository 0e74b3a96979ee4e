"""Where a corrected answer went wrong, and what mends that: tuning cannot mend a passage that was never read or found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from emendo.records import Correction
from rag.citations import CITATION
from rag.prompt import REFUSAL
from sft.cleaning import shingles

if TYPE_CHECKING:
    from rag.retrieve import Retriever

FaultClass = Literal["parse", "retrieval", "rank", "generation", "refusal", "none"]
HELD = 0.5  # of the corrected answer's 3-word shingles, in one passage: it holds the answer


@dataclass(frozen=True)
class Fault:
    name: FaultClass
    words: str
    cure: str


CURES = {
    "parse": Fault("parse", "Not in the index", "No indexed passage says this: add the manual, or read its warnings."),
    "retrieval": Fault("retrieval", "Search miss", "The index holds it, the search did not find it: `emendo tune --retriever`."),
    "rank": Fault("rank", "Wrong passage", "The right passage was shown, another one was used: tuning helps."),
    "generation": Fault("generation", "Wrong wording", "The right passage was used: tuning mends this."),
    "refusal": Fault("refusal", "Refusal", "Refused or answered wrongly: tuning helps, `emendo eval refusal` too."),
    "none": Fault("none", "Approved answer", "The answer was left as it was: it keeps what the bot does right."),
}


def fault_of(correction: Correction, retriever: Retriever | None = None) -> Fault:
    """The first step that failed for this question. Without the `retriever` a parse fault counts as a search miss."""
    if correction.rejected.strip() == correction.corrected.strip():
        return CURES["none"]
    refused = correction.rejected.strip() == REFUSAL
    shown = [n for n, hit in enumerate(correction.hits, 1) if hit.chunk.chunk_id in correction.evidence]
    if correction.should_abstain or (refused and shown):
        return CURES["refusal"]
    if not shown:
        return CURES["retrieval" if retriever is None or in_index(correction, retriever) else "parse"]
    if all(not hit.score and not hit.stages for hit in correction.hits if hit.chunk.chunk_id in correction.evidence):
        return CURES["retrieval"]  # a person found it
    cited = {int(n) for n in CITATION.findall(correction.rejected)}
    if 1 not in shown and not cited & set(shown):
        return CURES["rank"]
    return CURES["generation"]


def in_index(correction: Correction, retriever: Retriever) -> bool:
    """Whether one indexed passage holds most of the corrected answer."""
    wanted = shingles(CITATION.sub("", correction.corrected), 3)
    found = retriever.search(CITATION.sub("", correction.corrected), k=10)
    return any(len(wanted & shingles(hit.chunk.text, 3)) >= HELD * len(wanted) for hit in found)
