"""Passages cut to the few sentences that meet the question, for models too small to read whole ones.

Extractive compression as in RECOMP (Xu et al., arXiv 2310.04408): each passage keeps one window of consecutive units from its
best one on, and passages are ranked by that unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from emendo.records import Hit
from emendo.units import Unit
from rag.evidence import Evidence


def cut_to_evidence(
    evidence: Sequence[Evidence], hits: Sequence[Hit], passages: int, units: int
) -> tuple[list[Hit], list[Evidence]]:
    """The best `passages` of the hits, each cut to at most `units` units in a row, and the evidence that is left.

    `evidence` scores the units of these hits (rag.evidence). The hits keep their ids, pages and boxes and are numbered again; so
    is the evidence, which stands in their reading order.
    """
    windows: list[tuple[Hit, list[Evidence]]] = []
    for n, hit in enumerate(hits):
        own = [found for found in evidence if found.unit.passage == n]
        if own:
            best = max(range(len(own)), key=lambda i: own[i].score)
            windows.append((hit, own[best : best + units]))
    windows.sort(key=lambda window: -window[1][0].score)
    if not windows:
        return list(hits[:passages]), []
    cut: list[Hit] = []
    left: list[Evidence] = []
    for n, (hit, kept) in enumerate(windows[:passages]):
        cut.append(replace(hit, rank=n + 1, chunk=replace(hit.chunk, text=_joined([found.unit for found in kept]))))
        left += [replace(found, unit=replace(found.unit, passage=n, position=i)) for i, found in enumerate(kept)]
    return cut, left


def _joined(kept: Sequence[Unit]) -> str:
    """The units as lines or running text, as they stood; rows keep the header of their table, by which they are read."""
    listed = [unit.step or " | " in unit.text for unit in kept]
    text = kept[0].text if not kept[0].header else f"{kept[0].header}\n{kept[0].text}"
    for before, after, previous, unit in zip(listed, listed[1:], kept, kept[1:], strict=False):
        if unit.header and unit.header != previous.header:
            text += "\n" + unit.header
        text += ("\n" if before or after else " ") + unit.text
    return text
