"""Passages cut to the few sentences that meet the question, for models too small to read whole ones.

Extractive compression as in RECOMP (Xu et al., arXiv 2310.04408), by the index's own embedder: each passage keeps one window of
consecutive units from its best one on, and passages are ranked by that unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emendo.records import Hit
from emendo.units import Unit, score_units, split_units
from rag.embedder import Embedder


class Focus:
    """Keeps the vectors of units it has seen: the same passages are found for many questions."""

    def __init__(self, embedder: Embedder, most_kept: int = 50_000):
        self.embedder = embedder
        self.most_kept = most_kept
        self._vectors: dict[str, np.ndarray] = {}

    def __call__(self, question: str, hits: Sequence[Hit], passages: int, units: int) -> list[Hit]:
        """The best `passages` of the hits, each cut to at most `units` units in a row; they keep their ids, pages and boxes."""
        texts = [hit.chunk.text for hit in hits]
        found = [unit for n, text in enumerate(texts) for unit in split_units(text, n)]
        if not found:
            return list(hits[:passages])
        [asked] = self.embedder.encode([question])
        scores = score_units(question, found, texts, asked.tolist(), [v.tolist() for v in self._encode([u.text for u in found])])
        cut: list[tuple[float, Hit]] = []
        for n, hit in enumerate(hits):
            own = [(score, unit) for score, unit in zip(scores, found, strict=True) if unit.passage == n]
            if own:
                best = max(range(len(own)), key=lambda i: own[i][0])
                cut.append((own[best][0], replace(hit, chunk=replace(hit.chunk, text=_window([u for _, u in own], best, units)))))
        cut.sort(key=lambda pair: -pair[0])
        return [replace(hit, rank=rank) for rank, (_, hit) in enumerate(cut[:passages], 1)]

    def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        missing = list(dict.fromkeys(text for text in texts if text not in self._vectors))
        if missing:
            if len(self._vectors) + len(missing) > self.most_kept:
                self._vectors.clear()
                missing = list(dict.fromkeys(texts))
            self._vectors.update(zip(missing, self.embedder.encode(missing), strict=True))
        return [self._vectors[text] for text in texts]


def _window(units: Sequence[Unit], best: int, size: int) -> str:
    """The best unit and those after it, up to `size`, as lines or running text as they stood."""
    kept = units[best : best + size]
    listed = [unit.step or " | " in unit.text for unit in kept]
    text = kept[0].text
    for before, after, unit in zip(listed, listed[1:], kept[1:], strict=False):
        text += ("\n" if before or after else " ") + unit.text
    return text
