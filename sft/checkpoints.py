"""Checkpoints that are whole or ignored: a manifest with the sha256 of each file is written last, after fsync."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emendo.records import UserError

MANIFEST = "manifest.json"


@contextmanager
def written_whole(folder: Path, what: str, *faults: type[Exception]) -> Iterator[None]:
    """For writing `folder`: where that fails by one of `faults`, it is removed, and a UserError tells the cure."""
    try:
        yield
    except faults as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{what} could not be written to {folder.parent} ({reason}); make room there and give the same command again: it "
            "goes on from the last whole checkpoint, where there is one"
        ) from error


def seal(folder: Path) -> None:
    """Mark the checkpoint as complete."""
    sums = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        with file.open("rb") as stream:
            sums[str(file.relative_to(folder))] = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
    partial = folder / f"{MANIFEST}.partial"
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(sums, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(folder / MANIFEST)


def is_whole(folder: Path) -> bool:
    """Whether every file of the manifest is there with its sha256."""
    try:
        sums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    for name, expected in sums.items():
        try:
            with (folder / name).open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                    return False
        except OSError:
            return False
    return True


def last_whole(run: Path) -> Path | None:
    """The newest complete checkpoint-N of a run; torn ones are removed, so that nothing resumes from them."""
    folders = sorted(run.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]), reverse=True)
    found = None
    for folder in folders:
        if found is None and is_whole(folder):
            found = folder
        elif found is None:
            shutil.rmtree(folder)
    return found
