"""Manuals -> index: parse what changed, embed what is new, publish one snapshot.

Nothing is lost by a crash: vectors are kept in a cache beside the index as soon as they are computed, and the next run takes
them from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from emendo.records import Chunk, UserError, content_id
from rag.changes import find_changes, place_of, with_free_id
from rag.chunking import CHUNKER_VERSION, ChunkSettings, chunk_manual
from rag.context import MAX_TOKENS, ContextWriter, forget
from rag.embedder import Embedder
from rag.embedding_cache import EmbeddingCache
from rag.index import Index, Origin, SnapshotBuilder, indexed_text, open_index, vector_key
from rag.manuals import ManualFile, ParseLimits, find_manuals, parse_batch, parser_id
from rag.ocr import check_ocr
from rag.snapshot import current_id, new_snapshot, remove_leftovers, writer_lock

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, how much there is
PlaceChunks = Callable[[Sequence[list[Chunk]]], list[list[Chunk]]]  # the chunks of documents -> the same with contexts
_GROUP = 2048  # chunks held in memory until they are embedded together
_OCR_SECONDS = 7200.0  # one file may take, at some seconds a page
_SPECIAL_TOKENS = 16  # kept free of the embedder's window: its own marks, and a margin for joining header and text


@dataclass(frozen=True)
class IngestSummary:
    """What one run did to the index. The counts are documents, but for `chunks`."""

    added: int
    replaced: int
    unchanged: int
    removed: int  # no longer in the folder that was indexed
    failed: tuple[tuple[str, str], ...]  # (source, message) of the files that could not be read; their former version is kept
    warnings: tuple[tuple[str, str], ...]  # (source, what was left out or guessed) of the files that were read
    chunks: int  # in the whole index, afterwards
    seconds: float


def ingest(
    directory: Path,
    path: Path,
    embedder: Embedder,
    product: str = "",
    progress: Progress | None = None,
    settings: ChunkSettings | None = None,
    ocr: str = "",
    contexts: ContextWriter | None = None,
) -> IngestSummary:
    """Bring the index in `directory` up to date with the manual, folder or .zip at `path`.

    Files whose bytes, parser, chunk settings and product are the same cost one hash. A folder is mirrored: documents
    indexed from it whose file is gone are removed. Scanned pages are read in the languages `ocr`, or left out; every
    chunk gets a context where a writer is given. One bad file does not stop the others; UserError when nothing can be read,
    when OCR is not installed, when another process is writing, and when another embedder made the index.
    """
    start = time.perf_counter()
    settings = _fit_window(settings or ChunkSettings(), embedder, contexts)
    if ocr:
        check_ocr(ocr)
    files = find_manuals(path)
    recipes = {place_of(file): _recipe(file, settings, ocr, contexts) for file in files}
    with ExitStack() as stack:
        live = _open_for_writing(stack, directory, embedder)
        known = live.origins() if live else []
        changes = find_changes(files, path, known, product, recipes)
        failed, warnings = list(changes.unreadable), list[tuple[str, str]]()
        builder = SnapshotBuilder(stack.enter_context(new_snapshot(directory)), embedder, live)
        cache = stack.enter_context(EmbeddingCache(directory, embedder))
        progress = progress or _silent
        place_chunks = partial(contexts.write, directory, embedder.count_tokens, progress) if contexts else None
        group = _Group(builder, cache, progress, place_chunks)
        taken = {origin.document.doc_id: origin.place for origin in known}
        for done, (file, result) in enumerate(parse_batch(changes.changed, product, _limits(ocr), ocr), 1):
            if isinstance(result, UserError):
                failed.append((file.source, str(result)))
            else:
                place = place_of(file)
                manual = replace(result, document=with_free_id(result.document, place, taken))
                warnings += [(file.source, warning) for warning in manual.document.warnings]
                group.add(Origin(manual.document, place, recipes[place]), chunk_manual(manual, embedder.count_tokens, settings))
            group.progress("parsing", done, len(changes.changed))
        group.write()
        if len(failed) == len(files):
            raise UserError(failed[0][1] + (f" ({len(failed) - 1} more files failed.)" if len(failed) > 1 else ""))
        for doc_id in changes.removed:
            builder.remove(doc_id)
        forget(directory, changes.removed)
        if group.added or group.replaced or changes.removed:
            builder.publish({"version": CHUNKER_VERSION, **asdict(settings)})
        cache.clear()
    return IngestSummary(
        added=group.added,
        replaced=group.replaced,
        unchanged=changes.unchanged,
        removed=len(changes.removed),
        failed=tuple(failed),
        warnings=tuple(warnings),
        chunks=builder.chunks,
        seconds=time.perf_counter() - start,
    )


def delete_documents(directory: Path, embedder: Embedder, doc_ids: Sequence[str]) -> int:
    """Remove documents for good; the number removed. UserError for an unknown doc_id, before anything is removed."""
    wanted = set(doc_ids)
    with ExitStack() as stack:
        live = _open_for_writing(stack, directory, embedder)
        known = {document.doc_id for document in live.documents()} if live else set()
        if live is None or not wanted <= known:
            held = ", ".join(sorted(known)) or "nothing"
            raise UserError(f"no document {', '.join(sorted(wanted - known))} in the index; it holds: {held}")
        builder = SnapshotBuilder(stack.enter_context(new_snapshot(directory)), embedder, live)
        for doc_id in wanted:
            builder.remove(doc_id)
        forget(directory, doc_ids)
        builder.publish(live.manifest.chunking)
    return len(wanted)


def reembed(directory: Path, embedder: Embedder, progress: Progress | None = None) -> int:
    """Give the whole index the vectors of another embedder, from the chunks it holds; the number of chunks."""
    with ExitStack() as stack:
        live = _open_for_writing(stack, directory, None)
        if live is None:
            raise UserError(f"no index in {directory} yet; add a manual with: emendo index PATH")
        builder = SnapshotBuilder(stack.enter_context(new_snapshot(directory)), embedder, None)
        cache = stack.enter_context(EmbeddingCache(directory, embedder))
        group = _Group(builder, cache, progress or _silent)
        for origin in live.origins():
            group.add(origin, live.chunks(origin.document.doc_id))
        group.write()
        builder.publish(live.manifest.chunking)
        cache.clear()
    return builder.chunks


def use_lists(directory: Path, embedder: Embedder, lists: int) -> int:
    """Search the vectors in `lists` lists from now on, 0 for all of them exactly (see SnapshotBuilder); the number of chunks.

    Worth it beyond about a million chunks. `reembed` starts again with an exact search.
    """
    with ExitStack() as stack:
        live = _open_for_writing(stack, directory, embedder)
        if live is None:
            raise UserError(f"no index in {directory} yet; add a manual with: emendo index PATH")
        builder = SnapshotBuilder(stack.enter_context(new_snapshot(directory)), embedder, live)
        builder.use_lists(lists)
        builder.publish(live.manifest.chunking)
    return builder.chunks


class _Group:
    """Documents on their way into the builder, embedded some thousand chunks at a time."""

    def __init__(
        self, builder: SnapshotBuilder, cache: EmbeddingCache, progress: Progress, place_chunks: PlaceChunks | None = None
    ):
        self.progress = progress
        self.added = 0
        self.replaced = 0
        self._builder = builder
        self._cache = cache
        self._place_chunks = place_chunks
        self._waiting: list[tuple[Origin, list[Chunk]]] = []

    def add(self, origin: Origin, chunks: list[Chunk]) -> None:
        self._waiting.append((origin, chunks))
        # Contexts cost money: all passages are held until the cost can be told.
        if self._place_chunks is None and sum(len(chunks) for _, chunks in self._waiting) >= _GROUP:
            self.write()

    def write(self) -> None:
        """Embed what waits, and put each document in the place of its former version."""
        import numpy as np

        if self._place_chunks and self._waiting:
            origins, documents = zip(*self._waiting, strict=True)
            self._waiting = list(zip(origins, self._place_chunks(documents), strict=True))
        texts = {vector_key(chunk): indexed_text(chunk) for _, chunks in self._waiting for chunk in chunks}
        vectors = {key: vector for key in texts if (vector := self._builder.vector(key)) is not None}
        new = {key: text for key, text in texts.items() if key not in vectors}
        vectors |= self._cache.encode(new, lambda count: self.progress("embedding", count, len(new)))
        for origin, chunks in self._waiting:
            if self._builder.remove(origin.document.doc_id):
                self.replaced += 1
            else:
                self.added += 1
            if chunks:
                self._builder.add(origin, chunks, np.stack([vectors[vector_key(chunk)] for chunk in chunks]))
        self._waiting = []


def _open_for_writing(stack: ExitStack, directory: Path, embedder: Embedder | None) -> Index | None:
    """The live snapshot (None before the first) with the writer's place held until `stack` ends."""
    stack.enter_context(writer_lock(directory))
    remove_leftovers(directory)
    if current_id(directory) is None:
        return None
    index = open_index(directory, embedder)
    stack.callback(index.close)
    return index


def _fit_window(settings: ChunkSettings, embedder: Embedder, contexts: ContextWriter | None) -> ChunkSettings:
    window = min(settings.max_tokens, embedder.max_tokens - _SPECIAL_TOKENS)
    return replace(settings, max_tokens=window - MAX_TOKENS if contexts else window)


def _limits(ocr: str) -> ParseLimits:
    return ParseLimits(seconds=_OCR_SECONDS) if ocr else ParseLimits()


def _recipe(file: ManualFile, settings: ChunkSettings, ocr: str, contexts: ContextWriter | None) -> str:
    """Names everything but the file itself that its chunks depend on."""
    optional = [f"ocr:{ocr}"] if ocr and file.suffix == ".pdf" else []
    optional += [f"context:{contexts.id}"] if contexts else []
    return content_id(parser_id(file.suffix), CHUNKER_VERSION, repr(settings), *optional)


def _silent(doing: str, done: int, total: int) -> None:
    """Progress for nobody."""
