"""Concurrent chats with the bundled model: errors, answers to the wrong user, memory, tokens a second, time to the first token.

    python -m benchmarks.load --chats 50 --minutes 5

Starts `emendo serve` on the sample manuals with a user for each chat, warms up, asks one question at a time, then from all chats
at once, and prints one table; docs/operations.md has the last run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from emendo.accounts import Accounts
from emendo.store import Store

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"


@dataclass
class Figures:
    """What one phase saw; seconds where not said otherwise."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    tokens: int = 0
    errors: list[str] = field(default_factory=list)
    wrong_user: int = 0
    seconds: float = 0.0
    processor: float = 0.0  # seconds the server's process used
    memory: list[int] = field(default_factory=list)  # bytes of the server, every half second

    @property
    def tokens_a_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def tokens_a_processor_second(self) -> float:
        """Says less about waiting but does not depend on what else the machine does."""
        return self.tokens / self.processor


class Chat:
    """One user with a token, asking one question after the other."""

    def __init__(self, url: str, token: str, other_token: str, questions: list[str], figures: Figures):
        self._url, self._questions, self._figures = url, questions, figures
        self._client = httpx.Client(timeout=300, headers={"Authorization": f"Bearer {token}"})
        self._other = {"Authorization": f"Bearer {other_token}"}
        self._given: list[tuple[str, str, str]] = []  # question, text, answer_id

    def ask_until(self, end: float) -> None:
        while time.monotonic() < end:
            try:
                self._ask(random.choice(self._questions))
            except (httpx.HTTPError, ValueError, KeyError) as error:
                self._figures.errors.append(repr(error))

    def _ask(self, question: str) -> None:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        body = {"model": "emendo", "messages": [{"role": "user", "content": question}], **options}
        start, first, text, tokens = time.monotonic(), 0.0, "", 0
        extra: dict[str, str] = {}
        with self._client.stream("POST", f"{self._url}/v1/chat/completions", json=body) as reply:
            reply.raise_for_status()
            for line in reply.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
                extra = chunk.get("emendo", extra)
                piece = chunk["choices"][0]["delta"].get("content", "") if chunk["choices"] else ""
                first = first or (time.monotonic() - start if piece else 0.0)
                text += piece
        self._figures.whole.append(time.monotonic() - start)
        self._figures.first.append(first)
        self._figures.tokens += tokens
        self._given.append((question, text, extra["answer_id"]))

    def check(self) -> None:
        """The stored answers are to this user's questions, and another user cannot have them."""
        for question, text, answer_id in self._given:
            mine = self._client.get(f"{self._url}/answers/{answer_id}").json()
            other = self._client.get(f"{self._url}/answers/{answer_id}", headers=self._other)
            if mine["question"] != question or mine["text"] != text.strip() or other.status_code != 404:
                self._figures.wrong_user += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--alone", type=float, default=0.5, help="minutes of one question at a time before that")
    parser.add_argument("--warm-up", type=float, default=1.0, help="minutes of all chats before anything is measured")
    parser.add_argument("--workspace", type=Path, help="with the sample manuals indexed (default: a new one)")
    parser.add_argument("--set", action="append", default=[], metavar="STEP.KEY=VALUE", help="a setting of the server")
    args = parser.parse_args()
    root = args.workspace or Path(tempfile.mkdtemp(prefix="emendo-load-"))
    if not (root / "index" / "CURRENT").exists():
        subprocess.run([sys.executable, "-m", "emendo.cli", "--workspace", root, "index", DATA / "manuals"], check=True)
    tokens = make_users(root, args.chats)
    rows = [json.loads(line) for line in (DATA / "corrections.jsonl").read_text(encoding="utf-8").splitlines()]
    questions = [row["question"] for row in rows if not row["should_abstain"]]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "emendo.cli", "--workspace", str(root), "serve", "--model", "hf:bundled", "--port", port]
    command += [word for setting in args.set for word in ("--set", setting)]
    server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        run(f"http://127.0.0.1:{port}", psutil.Process(server.pid), tokens, questions, args)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def make_users(root: Path, count: int) -> list[str]:
    """One token for each chat."""
    accounts = Accounts(Store(root / "emendo.db").engine)
    known = {user.name for user in accounts.all()}
    for n in range(count):
        if f"chat{n}" not in known:
            accounts.add(f"chat{n}", "asker" if n or known else "admin", "load test only")
    return [accounts.new_token(f"chat{n}") for n in range(count)]


def run(url: str, server: psutil.Process, tokens: list[str], questions: list[str], args: argparse.Namespace) -> None:
    wait_until_ready(url)
    warm = phase(url, server, tokens, questions, args.warm_up * 60)
    alone = phase(url, server, tokens[:2], questions, args.alone * 60, chats=1)
    before = server.memory_info().rss
    many = phase(url, server, tokens, questions, args.minutes * 60)
    after = server.memory_info().rss
    errors = [error for figures in (warm, alone, many) for error in figures.errors]
    print(f"chats                      1 at a time   {args.chats} at once")
    print(f"answers                    {len(alone.whole):11d}   {len(many.whole):10d}")
    print(f"tokens a second            {alone.tokens_a_second:11.1f}   {many.tokens_a_second:10.1f}")
    print(f"tokens a processor second  {alone.tokens_a_processor_second:11.1f}   {many.tokens_a_processor_second:10.1f}")
    for name in ("first", "whole"):
        for label, q in (("median", 50), ("p95", 95)):
            one, all_ = (percentile(getattr(figures, name), q) for figures in (alone, many))
            print(f"{name + ' ' + label + ', s':<26} {one:11.2f}   {all_:10.2f}")
    for label, figures in (("alone", alone), ("at once", many)):
        print(f"{'processors used, ' + label:<26} {figures.processor / figures.seconds:.2f}")
    print(f"ratio of tokens a second   {many.tokens_a_second / alone.tokens_a_second:.2f}")
    print(f"errors                     {len(errors)} {errors[:2]}")
    print(f"answers to a wrong user    {alone.wrong_user + many.wrong_user}")
    print(f"memory, MB                 {before / 2**20:.0f} -> {after / 2**20:.0f} ({100 * (after / before - 1):+.1f} %)")
    print(f"its own, without files, MB {memory_over_time(many.memory)}")


def wait_until_ready(url: str) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise SystemExit("the server did not become ready in 300 s")


def phase(url: str, server: psutil.Process, tokens: list[str], questions: list[str], seconds: float, chats: int = 0) -> Figures:
    """All chats ask for so long; questions under way at the end are waited for and counted."""
    figures = Figures()
    start, used = time.monotonic(), sum(server.cpu_times()[:2])
    pairs = list(zip(tokens, [*tokens[1:], tokens[0]], strict=True))[: chats or None]
    asking = [Chat(url, own, other, questions, figures) for own, other in pairs]
    threads = [threading.Thread(target=chat.ask_until, args=(start + seconds,)) for chat in asking]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        figures.memory.append(anonymous(server))
        time.sleep(0.5)
    figures.seconds, figures.processor = time.monotonic() - start, sum(server.cpu_times()[:2]) - used
    for chat in asking:
        chat.check()
    print(f"  {len(pairs)} chats: {len(figures.whole)} answers, {figures.tokens} tokens in {figures.seconds:.0f} s", flush=True)
    return figures


def anonymous(server: psutil.Process) -> int:
    """Bytes that are the process's own, without the files mapped into it, which the kernel may drop."""
    memory = server.memory_info()
    return int(memory.rss - memory.shared)


def memory_over_time(samples: list[int], parts: int = 10) -> str:
    """The mean of each tenth of the run, and the last one's growth over the first one."""
    size = max(1, len(samples) // parts)
    means = [statistics.mean(samples[n : n + size]) / 2**20 for n in range(0, size * min(parts, len(samples)), size)]
    return f"{' '.join(f'{mean:.0f}' for mean in means)} ({100 * (means[-1] / means[0] - 1):+.1f} %)"


def percentile(values: list[float], q: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[q - 1] if len(values) > 1 else float("nan")


if __name__ == "__main__":
    main()
