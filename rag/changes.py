"""What an indexing run has to do, found by comparing the files with the index before anything slow happens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emendo.records import Document, UserError
from rag.index import Origin
from rag.manuals import ManualFile


@dataclass(frozen=True)
class Changes:
    """Files to parse, documents to take out, and what needs nothing."""

    changed: tuple[ManualFile, ...]
    unchanged: int  # files whose content is in the index already, under this place or another
    removed: tuple[str, ...]  # doc_ids whose file is gone from the folder that is indexed
    unreadable: tuple[tuple[str, str], ...]  # (source, message)


def place_of(file: ManualFile) -> str:
    """Where a file is, the same in every run: its absolute path; for a member of an archive "archive!member"."""
    path = str(file.path.resolve())
    return f"{path}!{file.member}" if file.member else path


def find_changes(
    files: Sequence[ManualFile], path: Path, known: Iterable[Origin], product: str, recipes: dict[str, str]
) -> Changes:
    """Compare `files`, found at `path`, with the documents the index holds. `recipes` gives each file's by its place.

    A file is unchanged when its bytes, recipe and (where one is given) product are. Equal bytes are indexed once: a copy
    would only push other passages out of the results.
    """
    before = {origin.place: origin for origin in known}
    places = {place_of(file) for file in files}
    unknown = tuple(f"{place_of(file)}!" for file in files if file.problem)  # an archive that cannot be read loses nothing
    gone = [o for place, o in before.items() if place not in places and _is_under(place, path) and not place.startswith(unknown)]
    contents = {o.document.sha256 for place, o in before.items() if place not in places and o not in gone}
    changed, unreadable, copies, same = [], [], [], 0
    for file in files:
        place = place_of(file)
        old = before.get(place)
        try:
            sha256 = hashlib.sha256(file.read()).hexdigest()
        except UserError as error:
            unreadable.append((file.source, str(error)))
            continue
        if sha256 in contents:
            same += 1
            copies += [old] if old else []
        elif old and (old.document.sha256, old.recipe) == (sha256, recipes[place]) and product in ("", old.document.product):
            same += 1
        else:
            changed.append(file)
        contents.add(sha256)
    return Changes(tuple(changed), same, tuple(o.document.doc_id for o in gone + copies), tuple(unreadable))


def with_free_id(document: Document, place: str, taken: dict[str, str]) -> Document:
    """The document under the doc_id its place has, else under its own or, where another file has that, a numbered one.

    `taken` maps doc_id -> place and is extended.
    """
    doc_id, number = document.doc_id, 1
    while taken.get(doc_id, place) != place:
        number += 1
        doc_id = f"{document.doc_id}-{number}"
    taken[doc_id] = place
    return replace(document, doc_id=doc_id)


def _is_under(place: str, path: Path) -> bool:
    return place.startswith((f"{path.resolve()}/", f"{path.resolve()}!"))
