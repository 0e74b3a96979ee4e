"""Uploaded manuals: kept in the workspace, outside every file cache, indexed there, and deleted with their document."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emendo.accounts import User
from emendo.records import UserError
from rag.manual_files import SUFFIXES
from serve.auth import check_owner
from serve.ingest_job import Progress, run_ingest
from serve.session import ServeContext

FILE_TYPES = [*SUFFIXES, ".zip"]


def add_upload(
    context: ServeContext, upload: Path, name: str, user: User, product: str = ""
) -> Iterator[Progress | dict[str, Any]]:
    """Move `upload` into the workspace as `name` and index it: Progress, at last the fields of rag.ingest.IngestSummary.

    Raises UserError, and leaves what was there before, for a name that is no manual's, for a name that somebody else's upload
    has, and for a file that cannot be read.
    """
    name = Path(name.replace("\\", "/")).name
    if Path(name).suffix.lower() not in FILE_TYPES or name.startswith("."):
        raise UserError(f"{name or 'a file without a name'}: expected a manual ({', '.join(FILE_TYPES)})")
    path = context.workspace.sources / name
    owner = context.store.upload_owner(name)
    if path.exists() and owner != user.name and not user.may("admin"):
        raise UserError(f"{name}: somebody else's document has this name; rename the file")
    with context.indexing:
        former = path.with_name(f".{name}.former")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.replace(former)
        shutil.move(upload, path)
        try:
            yield from run_ingest(context.index_directory, path, context.embedder_spec, product.strip(), context.ocr)
        except BaseException:  # the reader went away, or the file cannot be read
            path.unlink()
            if former.exists():
                former.replace(path)
            raise
        former.unlink(missing_ok=True)
        context.store.set_upload_owner(name, user.name)
    context.refresh()


def delete_upload(context: ServeContext, doc_id: str, user: User) -> None:
    """Take the document out of the index, and its file out of the workspace. UserError for one the user may not delete."""
    from rag.ingest import delete_documents

    check_owner(context, user, doc_id=doc_id)
    kept = context.kept_file(doc_id)
    place = context.place_of(doc_id)
    with context.indexing:
        delete_documents(context.index_directory, context.embedder, [doc_id])
        if kept and "!" not in (place or ""):  # an archive stays while other documents may come from it
            kept.unlink()
    context.reload()
