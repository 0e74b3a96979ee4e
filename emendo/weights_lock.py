"""Who may touch a model's weights: several threads read them at once, or one changes them (adapters are switched in place)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class WeightsLock:
    """At most `readers` at once. Who wants to change the weights waits for those who read; who comes to read then waits too."""

    def __init__(self, readers: int = 1):
        self.readers = readers
        self._changed = threading.Condition()
        self._reading = 0
        self._changers = 0  # waiting or at work
        self._changing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._changers and self._reading < self.readers)
            self._reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()

    @contextmanager
    def changing(self) -> Iterator[None]:
        with self._changed:
            self._changers += 1
            self._changed.wait_for(lambda: not self._reading and not self._changing)
            self._changing = True
        try:
            yield
        finally:
            with self._changed:
                self._changing = False
                self._changers -= 1
                self._changed.notify_all()


def readers_of(model: Any) -> int:
    """Batches of a transformers model that may be decoded at once: as many as processors, shared among torch's own threads.

    One on a GPU, with 4-bit weights (the first batch repacks them), and where the model sets its positions anew for long prompts.
    """
    import torch

    sets_positions = any(kind in str(getattr(model.config, "rope_parameters", "")) for kind in ("longrope", "dynamic"))
    if sets_positions or model.device.type != "cpu" or getattr(model, "hf_quantizer", None) is not None:
        return 1
    return max(1, (os.cpu_count() or 1) // torch.get_num_threads())
