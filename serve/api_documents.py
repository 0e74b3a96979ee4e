"""The documents of the API: what is indexed, adding and deleting manuals, pages as images, search."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, HTTPException, Response, UploadFile
from pydantic import BaseModel, Field, StringConstraints

from emendo.accounts import User
from emendo.records import Chunk, Document, UserError
from serve.auth import SignedIn, check_owner, needs
from serve.ingest_job import Progress
from serve.page_images import page_image
from serve.session import ServeContext
from serve.uploads import MOST_FILES, add_uploads, delete_upload

TAGS: list[str | Enum] = ["documents"]


class SearchRequest(BaseModel):
    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
    k: int = Field(8, ge=1, le=50)
    product: str = Field("", max_length=1000)


def add_document_routes(app: FastAPI, context: ServeContext) -> None:
    """All users read all documents, for the bot answers from them; reviewers add them; who added one, or an admin, deletes it."""
    _add_reading(app, context)
    _add_changing(app, context)


def _add_reading(app: FastAPI, context: ServeContext) -> None:
    @app.get("/documents", tags=TAGS, dependencies=[needs("asker")])
    def documents() -> list[dict[str, Any]]:
        context.refresh()
        return [dataclasses.asdict(document) for document in context.documents()]

    @app.get("/documents/{doc_id}", tags=TAGS, dependencies=[needs("asker")])
    def document(doc_id: str) -> dict[str, Any]:
        """The document with its passages."""
        found = _find(context, doc_id)
        return {**dataclasses.asdict(found), "chunks": [dataclasses.asdict(chunk) for chunk in _chunks(context, doc_id)]}

    @app.get("/documents/{doc_id}/pages/{page}", tags=TAGS, dependencies=[needs("asker")], response_class=Response)
    def page(doc_id: str, page: int, chunk_id: str = "") -> Response:
        """The page of a PDF as WebP, the passage `chunk_id` boxed on it."""
        if not 1 <= page <= _find(context, doc_id).pages:
            raise HTTPException(404, f"document {doc_id!r} has no page {page}")
        path = context.source_file(doc_id)
        if path is None or path.suffix.lower() != ".pdf":
            raise HTTPException(404, f"document {doc_id!r} has no page images")
        boxes = next((chunk.boxes for chunk in _chunks(context, doc_id) if chunk.chunk_id == chunk_id), ())
        return Response(page_image(path, page, boxes).image, media_type="image/webp")

    @app.post("/search", tags=TAGS, dependencies=[needs("asker")])
    def search(asked: SearchRequest) -> list[dict[str, Any]]:
        """The best passages, best first, with what each stage of the search said of them."""
        context.refresh()
        retriever = context.answerer.retriever
        if retriever is None:
            return []
        product = retriever.product_for(asked.query, asked.product)
        return [dataclasses.asdict(hit) for hit in retriever.search(asked.query, asked.k, product)]


def _add_changing(app: FastAPI, context: ServeContext) -> None:
    @app.post("/documents", tags=TAGS, dependencies=[needs("reviewer")])
    def upload(user: SignedIn, files: list[UploadFile], product: Annotated[str, Form()] = "") -> list[dict[str, Any]]:
        """Index manuals or .zip archives of manuals; one row for each file says what came of it."""
        if len(files) > MOST_FILES:
            raise HTTPException(413, f"{len(files)} files at once; at most {MOST_FILES}, or one .zip")
        return _index(context, files, product, user)

    @app.delete("/documents/{doc_id}", tags=TAGS, dependencies=[needs("reviewer")])
    def delete(doc_id: str, user: SignedIn) -> dict[str, str]:
        _find(context, doc_id)
        try:
            check_owner(context, user, doc_id=doc_id)
        except UserError as error:
            raise HTTPException(403, str(error)) from error
        try:
            delete_upload(context, doc_id, user)
        except UserError as error:  # the index is being written
            raise HTTPException(409, str(error)) from error
        return {"deleted": doc_id}


def _index(context: ServeContext, files: list[UploadFile], product: str, user: User) -> list[dict[str, Any]]:
    """A row for each file, in the order sent."""
    with tempfile.TemporaryDirectory(dir=context.workspace.root, prefix=".upload-") as folder:
        uploads = [(Path(folder) / str(n), file.filename or "") for n, file in enumerate(files)]
        for (path, _), file in zip(uploads, files, strict=True):
            with path.open("wb") as target:
                shutil.copyfileobj(file.file, target)
        ends: dict[int, dict[str, Any]] = {}
        for n, end in add_uploads(context, uploads, user, product):
            if not isinstance(end, Progress):
                ends[n] = {"error": str(end)} if isinstance(end, UserError) else end
    return [{"file": name, **ends[n]} for n, (_, name) in enumerate(uploads)]


def _find(context: ServeContext, doc_id: str) -> Document:
    context.refresh()
    found = next((document for document in context.documents() if document.doc_id == doc_id), None)
    if found is None:
        raise HTTPException(404, f"no document {doc_id!r}; GET /documents lists them")
    return found


def _chunks(context: ServeContext, doc_id: str) -> list[Chunk]:
    return context.index.chunks(doc_id) if context.index else []
