"""Questions and single sentences by the index's own embedder, and how alike they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.embedder import Embedder


class UnitVectors:
    """Keeps the vectors it has made: a question is compared with chunks and units, a unit with many questions."""

    def __init__(self, embedder: Embedder, most_kept: int = 50_000):
        self.embedder = embedder
        self.most_kept = most_kept
        self._vectors: dict[str, np.ndarray] = {}

    def cosines(self, question: str, texts: Sequence[str]) -> list[float]:
        """Of the question with each text."""
        [asked, *vectors] = self.vectors([question, *texts])
        return [float(asked @ vector) for vector in vectors]

    def word_likeness(self, question: str, texts: Sequence[str]) -> list[float]:
        """Mean, over the question's words, of the cosine with the likest word of each text; 0 where the embedder knows no words.

        Words are compared by themselves, without those around them (the relaxed word mover's distance, Kusner et al. 2015).
        """
        asked, *others = self.embedder.word_vectors([question, *texts]) or [np.zeros((0, 1))]
        if not others or not len(asked):
            return [0.0] * len(texts)
        return [float((asked @ words.T).max(axis=1, initial=-1.0).mean()) for words in others]

    def likest(self, words: Sequence[str], text: str) -> list[float]:
        """Of each word the cosine with the likest word of the text (mean of its pieces); [] where the embedder knows no words."""
        *asked, held = self.embedder.word_vectors([*words, text]) or [np.zeros((0, 1))]
        return [float((word @ held.T).max(axis=1).mean()) for word in asked if len(word)] if len(held) else []

    def vectors(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Of questions or units, unit length; those not known yet are embedded together, which is quicker than one by one."""
        known = {text: vector for text in texts if (vector := self._vectors.get(text)) is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            new = dict(zip(missing, self.embedder.encode(missing), strict=True))
            known |= new
            if len(self._vectors) + len(new) > self.most_kept:
                self._vectors = {}
            self._vectors.update(new)
        return [known[text] for text in texts]
