"""One line for the model: so many answers are written at once, the others wait in the order they came and know their place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from emendo.records import Answer, UserError
from serve.metrics import Metrics


@dataclass(frozen=True)
class Waiting:
    """Comes before an answer, about twice a second."""

    place: int  # 1 is next


class QueueFull(UserError):
    """So many wait that another one would wait too long."""


class AnswerQueue:
    """A place in the line is given up when its iterator ends or is closed, whatever happened to its reader."""

    def __init__(self, at_once: int, most_waiting: int, metrics: Metrics):
        self.at_once = at_once
        self._most_waiting = most_waiting
        self._line: list[object] = []  # the first `at_once` are being answered
        self._changed = threading.Condition()
        self._metrics = metrics
        metrics.watch_queue(lambda: self.counts()[0], lambda: self.counts()[1])

    def counts(self) -> tuple[int, int]:
        """(being answered, waiting for their turn)."""
        line = len(self._line)
        return min(line, self.at_once), max(0, line - self.at_once)

    def answer(self, pieces: Callable[[], Iterator[str | Answer]], surface: str) -> Iterator[Waiting | str | Answer]:
        """What `pieces()` yields, once it is its turn; `surface` (pages | api) is for the metrics. First of all QueueFull."""
        ticket = object()
        with self._changed:
            if len(self._line) >= self.at_once + self._most_waiting:
                raise QueueFull(f"{self._most_waiting} questions are waiting already; ask again in a minute")
            self._line.append(ticket)
        start, first, outcome = time.perf_counter(), 0.0, "cancelled"
        try:
            while place := self._place(ticket, wait=0.5):
                yield Waiting(place)
            for piece in pieces():
                first = first or time.perf_counter() - start
                if isinstance(piece, Answer):
                    outcome = "refused" if piece.abstained else "answered"
                yield piece
        except Exception:
            outcome = "failed"
            raise
        finally:
            with self._changed:
                self._line.remove(ticket)
                self._changed.notify_all()
            self._metrics.answered(surface, outcome, first, time.perf_counter() - start)

    def _place(self, ticket: object, wait: float) -> int:
        """0 when it is the ticket's turn, else its place among those who wait, after at most `wait` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._line.index(ticket) < self.at_once, wait)
            return max(0, self._line.index(ticket) - self.at_once + 1)
