"""Versions of an index on disk: many readers, one writer, and a switch that is either done or not done.

    directory/CURRENT            the name of the live snapshot
    directory/<snapshot id>/     vectors.faiss, chunks.sqlite, manifest.json
    directory/building-<id>/     being written; left over after a crash, removed by the next writer
    directory/LOCK               held by the writer

A snapshot never changes once it is live. A reader keeps its open files even when the snapshot is removed under it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from emendo.records import UserError

FORMAT_VERSION = 1
VECTORS, CHUNKS, MANIFEST = "vectors.faiss", "chunks.sqlite", "manifest.json"
_BUILDING = "building-"


@dataclass(frozen=True)
class Manifest:
    """What a snapshot was made with. A snapshot is opened only when it fits the embedder and this version of the program."""

    format_version: int
    embedder_id: str
    dimension: int
    chunking: dict[str, Any]  # the chunker's version and settings
    documents: int
    chunks: int
    sha256: dict[str, str] = field(default_factory=dict)  # of the two files, by name


@contextmanager
def writer_lock(directory: Path) -> Iterator[None]:
    """Hold the directory's only writer's place; UserError at once when another process has it. Ends with the process."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "LOCK", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is writing the index {directory}; run the command again when it has ended"
            ) from error
        yield


def current_id(directory: Path) -> str | None:
    """The live snapshot's name, None when nothing was indexed yet."""
    try:
        return (directory / "CURRENT").read_text(encoding="utf-8", errors="replace").strip() or None
    except FileNotFoundError:
        return None


def remove_leftovers(directory: Path) -> None:
    """Remove every snapshot but the live one, whole or half written. The caller holds the lock."""
    live = current_id(directory)
    for path in directory.iterdir():
        if path.is_dir() and path.name != live and (path.name.startswith(_BUILDING) or (path / MANIFEST).exists()):
            shutil.rmtree(path)


@contextmanager
def new_snapshot(directory: Path) -> Iterator[Path]:
    """A folder to build the next snapshot in; removed again when the block raises. Give it to `publish` to make it live."""
    folder = directory / f"{_BUILDING}{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder)


def publish(folder: Path, manifest: Manifest) -> str:
    """Make the built snapshot the live one and return its name.

    Everything is on disk before the name changes, and the name changes by one `os.replace`: a crash at any moment leaves
    the old snapshot or the new one, never a mixture.
    """
    directory, name = folder.parent, folder.name.removeprefix(_BUILDING)
    sums = {file: _sha256(folder / file) for file in (VECTORS, CHUNKS)}
    complete = json.dumps({**asdict(manifest), "sha256": sums}, indent=1)
    (folder / MANIFEST).write_text(complete + "\n", encoding="utf-8")
    for file in (VECTORS, CHUNKS, MANIFEST):
        _sync(folder / file)
    _sync(folder)
    folder.rename(directory / name)
    pointer = directory / f"CURRENT.{name}"
    pointer.write_text(name + "\n", encoding="utf-8")
    _sync(pointer)
    os.replace(pointer, directory / "CURRENT")
    _sync(directory)
    remove_leftovers(directory)
    return name


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a snapshot whose files are whole.

    Raises FileNotFoundError when the snapshot is gone, UserError when it is newer than this program or damaged.
    """
    cure = f"remove {folder.parent} and run: emendo index PATH"
    try:
        found = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"index file {folder / MANIFEST} is damaged; {cure}") from error
    version = found.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(
            f"index {folder.parent} has format {version}, this version of emendo reads format {FORMAT_VERSION}; "
            f"update emendo, or remove the folder and run: emendo index PATH"
        )
    try:
        manifest = Manifest(**found)
    except TypeError as error:
        raise UserError(f"index file {folder / MANIFEST} is damaged ({error}); {cure}") from error
    for name, expected in manifest.sha256.items():
        if _sha256(folder / name) != expected:
            raise UserError(f"index file {folder / name} is damaged; {cure}")
    return manifest


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
