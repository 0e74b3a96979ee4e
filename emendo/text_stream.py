"""Token ids of one answer to pieces of text, from the thread that decodes to the one that reads."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from typing import Any


class TextStream:
    """The pieces of one answer. `left` says that its reader went away: it need not be written any further."""

    def __init__(self, tokenizer: Any) -> None:
        self.left = False
        self._tokenizer = tokenizer
        self._pieces: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()
        self._ids: list[int] = []
        self._sent = 0

    def put(self, ids: Sequence[int]) -> None:
        """Send what is certain: up to the last space, for a later token may change the word before it."""
        self._ids += ids
        self._send(whole=False)

    def end(self, error: Exception | None = None) -> None:
        """The answer is whole, or broken by `error`, which the reader raises."""
        if error is None:
            self._send(whole=True)
        self._pieces.put(error)

    def read(self) -> Iterator[str]:
        """The pieces as they come; closing the iterator tells the writer to stop."""
        try:
            while (piece := self._pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.left = True

    def _send(self, whole: bool) -> None:
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        end = len(text) if whole else max(text.rfind(" "), text.rfind("\n")) + 1
        if end > self._sent:
            self._pieces.put(text[self._sent : end])
            self._sent = end


class StepStreamer:
    """What `generate` of transformers calls with the tokens of each step, one per row; the prompts come first."""

    def __init__(self, streams: Sequence[TextStream], stops: set[int]):
        self._streams: list[TextStream | None] = list(streams)
        self._stops = stops
        self._prompts_seen = False

    def put(self, tokens: Any) -> None:
        if not self._prompts_seen:
            self._prompts_seen = True
            return
        for n, token in enumerate(tokens.tolist()):
            stream = self._streams[n]
            if stream is None:
                continue
            if token in self._stops or stream.left:
                stream.end()
                self._streams[n] = None
            else:
                stream.put([token])

    def end(self) -> None:
        for stream in filter(None, self._streams):
            stream.end()
        self._streams = []
