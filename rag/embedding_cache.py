"""Vectors kept on disk from the moment they are computed until their snapshot is live, so that a killed run loses nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from emendo.records import content_id
from rag.embedder import Embedder

if TYPE_CHECKING:
    import numpy as np

_GROUP = 256  # texts embedded before they are committed: what a crash can cost at most


class EmbeddingCache:
    """One file beside the snapshots, for one embedder. The holder of the writer's lock is its only user."""

    def __init__(self, directory: Path, embedder: Embedder):
        self._embedder = embedder
        self._path = directory / f"embedding-{content_id(embedder.id)}.sqlite"
        self._database = sqlite3.connect(self._path)
        self._database.execute("CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB NOT NULL)")

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()

    def encode(self, texts: dict[str, str], done: Callable[[int], None] = lambda count: None) -> dict[str, np.ndarray]:
        """key -> float32 vector of shape (dimension,), for key -> text. `done` is told how many are ready."""
        import numpy as np

        vectors: dict[str, np.ndarray] = {}
        for key in texts:
            row = self._database.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
            if row:
                vectors[key] = np.frombuffer(row[0], dtype=np.float32)
        # longest first over all texts: batches of like length carry no padding, and memory peaks at once or never
        waiting = sorted((key for key in texts if key not in vectors), key=lambda key: -len(texts[key]))
        for start in range(0, len(waiting), _GROUP):
            vectors |= self._embed(waiting[start : start + _GROUP], texts)
            done(len(vectors))
        return vectors

    def _embed(self, keys: Sequence[str], texts: dict[str, str]) -> dict[str, np.ndarray]:
        found = dict(zip(keys, self._embedder.encode([texts[key] for key in keys]), strict=True))
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?)", [(k, v.tobytes()) for k, v in found.items()]
            )
        return found

    def clear(self) -> None:
        """Drop the file: everything in it is in the live snapshot now."""
        self._database.close()
        self._path.unlink()
