"""Uploaded manuals: kept in the workspace, outside every file cache, indexed there, and deleted with their document."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emendo.accounts import User
from emendo.records import UserError
from rag.manual_files import SUFFIXES
from serve.auth import check_owner
from serve.ingest_job import Progress, run_ingest
from serve.recording import readable
from serve.session import ServeContext

FILE_TYPES = [*SUFFIXES, ".zip"]
MOST_FILES = 100  # in one upload
LONGEST_NAME = 200  # bytes; file systems take 255, and a former version has a longer name


@dataclass(frozen=True)
class _Kept:
    """An uploaded file at its place in the workspace, its former version beside it until it is indexed."""

    n: int  # its place in the upload
    path: Path

    @property
    def former(self) -> Path:
        return self.path.with_name(f".{self.path.name}.former")

    def move_in(self, upload: Path) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.path.replace(self.former)
        shutil.move(upload, self.path)

    def take_back(self) -> None:
        self.path.unlink(missing_ok=True)
        if self.former.exists():
            self.former.replace(self.path)


def add_uploads(
    context: ServeContext, uploads: Sequence[tuple[Path, str]], user: User, product: str = ""
) -> Iterator[tuple[int, Progress | dict[str, Any] | UserError]]:
    """Move (file, name) pairs into the workspace and index them: the place of each in `uploads` with its Progress, then its end.

    That is the fields of rag.ingest.IngestSummary, or a UserError, and then what was there before stays: for a name that is no
    manual's, that somebody else's upload or another file of this upload has, and for a file that cannot be read. Files whose
    end has not come when the iterator is closed are taken back.
    """
    kept: dict[Path, _Kept] = {}
    while not context.indexing.acquire(timeout=0.5):
        yield 0, Progress("waiting for another upload", 0, 0)
    try:
        _mend_cut_off(context)
        for n, (upload, name) in enumerate(uploads):
            try:
                path = _place_for(context, Path(readable(name).replace("\\", "/")).name, user, kept)
            except UserError as error:
                upload.unlink(missing_ok=True)
                yield n, error
                continue
            kept[path] = _Kept(n, path)
            kept[path].move_in(upload)
            if not kept[path].former.exists():
                context.store.set_upload_owner(path.name, user.name)  # now: a server killed while it indexes leaves the file
        paths = list(kept)
        how = (context.embedder_spec, product.strip(), context.ocr, context.writer)
        for path, report in run_ingest(context.index_directory, paths, *how) if paths else ():
            yield kept[path].n, report if isinstance(report, Progress) else _settle(context, kept.pop(path), report, user)
    finally:
        for file in kept.values():
            file.take_back()
        context.indexing.release()
    context.refresh()


def _mend_cut_off(context: ServeContext) -> None:
    """After a killed server: of a file's two versions the one stays that the index was made from."""
    left = list(context.workspace.sources.glob(".*.former"))
    if left:
        context.refresh()
    indexed = {document.sha256 for document in context.documents()} if left else set()
    for former in left:
        path = former.with_name(former.name[1:].removesuffix(".former"))
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() in indexed:
            former.unlink()
        else:
            former.replace(path)


def _place_for(context: ServeContext, name: str, user: User, taken: Container[Path]) -> Path:
    """Where an upload of this name is kept; UserError for a name that it cannot have."""
    if Path(name).suffix.lower() not in FILE_TYPES or name.startswith("."):
        raise UserError(f"{name or 'a file without a name'}: expected a manual ({', '.join(FILE_TYPES)})")
    if len(name.encode()) > LONGEST_NAME:
        raise UserError(f"{name[:40]}…: the name has more than {LONGEST_NAME} bytes; rename the file")
    path = context.workspace.sources / name
    if path in taken:
        raise UserError(f"{name}: another file of this upload has the same name; rename one")
    if path.exists() and context.store.upload_owner(name) != user.name and not user.may("admin"):
        raise UserError(f"{name}: somebody else's document has this name; rename the file")
    return path


def _settle(context: ServeContext, file: _Kept, end: dict[str, Any] | UserError, user: User) -> dict[str, Any] | UserError:
    """The new version stays where it was indexed, else the former one; returns `end`."""
    if isinstance(end, UserError):
        file.take_back()
    else:
        file.former.unlink(missing_ok=True)
        context.store.set_upload_owner(file.path.name, user.name)
    return end


def delete_upload(context: ServeContext, doc_id: str, user: User) -> None:
    """Take the document out of the index, and its file out of the workspace. UserError for one the user may not delete."""
    from rag.ingest import delete_documents

    check_owner(context, user, doc_id=doc_id)
    kept = context.kept_file(doc_id)
    place = context.place_of(doc_id)
    if not context.indexing.acquire(timeout=5):
        raise UserError("manuals are being added to the index; delete the document when that has ended")
    try:
        delete_documents(context.index_directory, context.embedder, [doc_id])
        if kept and "!" not in (place or ""):  # an archive stays while other documents may come from it
            kept.unlink()
    finally:
        context.indexing.release()
    context.reload()
