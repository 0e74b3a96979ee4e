"""Checking and tuning in a process of its own: the chat stays quick, and a run outlives the page and the server that started it.

The child holds a lock in the workspace while it lives and writes one JSON object a line beside it: what it was asked for, then
{"step", "steps", ...figures} of each logged step, at last {"findings", "passed"} of a check, {"adapter"} or {"error"}.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emendo.config import Workspace
from emendo.records import UserError
from emendo.store import now
from serve.ingest_job import ROOT

Kind = Literal["check", "tune"]
_told_in = threading.Lock()  # one look at a job's lock at a time: a look takes it for a moment


@dataclass(frozen=True)
class TuneState:
    """The latest job of a workspace, as far as it has told."""

    kind: str = ""  # "" before the first job
    running: bool = False
    at: str = ""  # ISO 8601, UTC, of its start
    steps: tuple[dict[str, float], ...] = ()  # step, steps, seconds, and loss or validation_loss in nats per labelled token
    findings: tuple[dict[str, str], ...] = ()  # name, state (ok, note or fail) and text of each check
    adapter: str = ""
    error: str = ""


@dataclass(frozen=True)
class TuneRequest:
    """What `emendo tune` is given: an hf: spec, bits ("" for the setting) and the settings that overrule emendo.toml."""

    model: str
    bits: str = ""
    overrides: tuple[str, ...] = ()


class TuneJob:
    """The one job of a workspace; safe to use from several threads and after a restart of the server."""

    def __init__(self, workspace: Workspace, database: str | Path):
        self._workspace, self._database = workspace, str(database)
        self.folder = workspace.root / "tuning"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, kind: Kind, request: TuneRequest) -> None:
        """Begin; the same corrections and settings go on from a stopped run's last checkpoint. UserError while a job runs."""
        self.folder.mkdir(exist_ok=True)
        with _told_in, (self.folder / "LOCK").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError("a tuning run or its check is under way already; wait for its end, or stop it") from error
            given = {"workspace": str(self._workspace.root), "database": self._database, "kind": kind}
            command = [sys.executable, "-m", "serve.tune_job"]
            with self._log.open("w", encoding="utf-8") as out, (self.folder / "errors.log").open("w") as errors:
                # The open lock goes on in the child: it is held until that ends, also when this server has gone.
                self._child = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=errors,
                    pass_fds=[lock.fileno()],
                    start_new_session=True,
                )
                assert self._child.stdin
                with self._child.stdin as told:  # not as an argument: the database's address may hold a password
                    told.write(json.dumps(given | dataclasses.asdict(request)).encode())
                out.write(json.dumps({"kind": kind, "at": now(), "pid": self._child.pid}) + "\n")

    def stop(self) -> None:
        """Ask the running job to end: tuning saves a checkpoint after its step first. UserError when none runs."""
        rows = self._rows()
        if not rows or not self._running():
            raise UserError("no tuning run is under way")
        os.kill(int(rows[0]["pid"]), signal.SIGTERM)

    def state(self) -> TuneState:
        running, rows = self._running(), self._rows()  # in this order: a job that ends between them has told all
        if not rows:
            return TuneState()
        last = rows[-1]
        told = "adapter" in last or "error" in last or "findings" in last
        error = str(last.get("error", "")) if running or told else f"it ended before it was finished{self._last_words()}"
        return TuneState(
            kind=str(rows[0]["kind"]),
            running=running,
            at=str(rows[0]["at"]),
            steps=tuple(row for row in rows if "step" in row),
            findings=tuple(last.get("findings", ())),
            adapter=str(last.get("adapter", "")),
            error=error,
        )

    def stopped_at(self) -> int:
        """The step of the newest checkpoint that a stopped run has left; 0 without one."""
        found = self._workspace.adapters.glob(".running-*/checkpoint-*/manifest.json")
        return max((int(path.parent.name.rpartition("-")[2]) for path in found), default=0)

    def _last_words(self) -> str:
        lines = (self.folder / "errors.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f" ({lines[-1]})" if lines else "; start it again to go on"

    @property
    def _log(self) -> Path:
        return self.folder / "job.jsonl"

    def _running(self) -> bool:
        if self._child is not None:
            self._child.poll()  # so that an ended child is not left as a zombie
        if not (self.folder / "LOCK").exists():
            return False
        with _told_in, (self.folder / "LOCK").open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _rows(self) -> list[dict[str, Any]]:
        """The lines so far, the request first."""
        if not self._log.exists():
            return []
        lines = self._log.read_text(encoding="utf-8").split("\n")[:-1]  # the last one may be half written
        rows = [json.loads(line) for line in lines]
        return sorted(rows, key=lambda row: "pid" not in row)  # the child may have been quicker than the request


def main() -> None:
    """The child. Everything that libraries print goes to the errors; standard output holds the lines of the job alone."""
    given = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "a", encoding="utf-8")
    os.dup2(2, 1)
    os.nice(5)  # answers go first

    def tell(**row: Any) -> None:
        out.write(json.dumps(row) + "\n")
        out.flush()

    try:
        tell(**_work(given, tell))
    except UserError as error:
        tell(error=str(error))


def _work(given: dict[str, Any], tell: Any) -> dict[str, Any]:
    """The last line of the job. Its database is not opened longer than its corrections are read."""
    from emendo.store import Store
    from rag.assemble import Opener
    from sft.examples import ExampleSettings, build_examples
    from sft.ratings import learnable

    opened = Opener(Workspace(Path(given["workspace"])), tuple(given["overrides"]))
    store = Store(given["database"] if "://" in given["database"] else Path(given["database"]))
    examples = opened.settings(ExampleSettings, "examples")
    rows = learnable(store, examples.thumbs_up)
    store.close()
    data = build_examples(rows, examples)
    from sft.train import TuneSettings, as_served, tune  # loads torch: not before there is something to learn

    settings = opened.settings(TuneSettings, "tune")
    if given["bits"]:
        settings = dataclasses.replace(settings, bits=given["bits"])
    settings = as_served(opened, given["model"], settings)
    base = given["model"].removeprefix("hf:").partition("+")[0]
    if given["kind"] == "check":
        from sft.preflight import preflight

        found = preflight(base, data, rows, settings)
        return {"findings": [dataclasses.asdict(finding) for finding in found.findings], "passed": found.passed}
    start = time.monotonic()

    def progress(step: int, steps: int, figures: dict[str, float]) -> None:
        tell(step=step, steps=steps, seconds=round(time.monotonic() - start, 1), **figures)

    card = tune(base, data, {row.correction_id: row for row in rows}, opened.workspace.adapters, settings, progress)
    return {"adapter": card.adapter_id}


if __name__ == "__main__":
    main()
