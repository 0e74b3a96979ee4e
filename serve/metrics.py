"""What a Prometheus server reads at /metrics. Counted here: no question, no name, no id."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)


class Metrics:
    """One registry per app, so that two apps in one process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, processor time, open files of the server
        own = self._registry
        self._requests = Counter("emendo_requests", "API requests", ("method", "route", "status"), registry=own)
        self._answers = Counter("emendo_answers", "Answers by outcome", ("surface", "outcome"), registry=own)
        self._first = Histogram("emendo_first_token_seconds", "Question to first piece of text", buckets=SECONDS, registry=own)
        self._whole = Histogram("emendo_answer_seconds", "Question to whole answer", buckets=SECONDS, registry=own)
        self._running = Gauge("emendo_queue_running", "Answers being written", registry=own)
        self._waiting = Gauge("emendo_queue_waiting", "Questions that wait for their turn", registry=own)
        self._documents = Gauge("emendo_documents", "Documents in the index", registry=own)

    def watch_queue(self, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        self._running.set_function(running)
        self._waiting.set_function(waiting)

    def watch_documents(self, count: Callable[[], int]) -> None:
        self._documents.set_function(count)

    def requested(self, method: str, route: str, status: int) -> None:
        """`route` is the route's pattern, not the path: ids would make a time series each."""
        self._requests.labels(method, route, str(status)).inc()

    def answered(self, surface: str, outcome: str, first: float, whole: float) -> None:
        """`first` is 0 where no text came; both in seconds."""
        self._answers.labels(surface, outcome).inc()
        if first:
            self._first.observe(first)
        if outcome in ("answered", "refused"):
            self._whole.observe(whole)

    def text(self) -> bytes:
        return generate_latest(self._registry)
