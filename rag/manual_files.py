"""Find manuals: a file, a folder (recursive), or a .zip archive; archives are read in place, never unpacked to disk."""

from __future__ import annotations

import hashlib
import io
import os
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from emendo.records import UserError

SUFFIXES = (".csv", ".docx", ".htm", ".html", ".markdown", ".md", ".pdf", ".pptx", ".rst", ".text", ".txt", ".xlsx")
_SAVE_AS = {".doc": ".docx", ".odt": ".docx", ".rtf": ".docx", ".ppt": ".pptx", ".odp": ".pptx"}
_SAVE_AS |= {".xls": ".xlsx", ".ods": ".xlsx", ".epub": ".html"}
# what zipfile raises for an archive or a member that is damaged, protected or packed in an unknown way
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)
MAX_FILE_BYTES = 300_000_000
MAX_ARCHIVE_BYTES = 2_000_000_000  # of all members together, unpacked
MAX_RATIO = 200  # unpacked to packed; deflated prose stays below 20, a bomb is above 1000


@dataclass(frozen=True)
class ManualFile:
    """One file to parse. `source` is its path relative to what the user named, with "/" between the parts."""

    path: Path  # the file, or the archive that holds it
    source: str
    member: str = ""  # the name inside the archive at `path`; "" for a plain file
    problem: str = ""  # why it cannot be read, where that is known before it is opened

    @property
    def doc_id(self) -> str:
        """Slug of the source without its extension: "TV/Quick Start.pdf" -> "tv-quick-start"."""
        plain = unicodedata.normalize("NFKD", str(PurePosixPath(self.source).with_suffix("")))
        slug = re.sub(r"[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode().lower()).strip("-")
        # A name in another script leaves nothing to read: its hash keeps it unique.
        return slug or hashlib.sha256(self.source.encode("utf-8", "surrogateescape")).hexdigest()[:12]

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.source).suffix.lower()

    def read(self) -> bytes:
        """The file's bytes. Raises UserError when it cannot be read or is too large."""
        if self.problem:
            raise UserError(self.problem)
        try:
            if not self.member:
                if self.path.stat().st_size > MAX_FILE_BYTES:
                    raise UserError(f"{self.source}: larger than {MAX_FILE_BYTES // 1_000_000} MB; split it into parts.")
                return self.path.read_bytes()
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as opened:
                data = opened.read(MAX_FILE_BYTES + 1)
        except (OSError, KeyError, *_BROKEN_ZIP) as error:
            raise UserError(f"{self.source}: cannot be read ({error}). Check the file and its permissions.") from error
        if len(data) > MAX_FILE_BYTES:
            raise UserError(f"{self.source}: larger than {MAX_FILE_BYTES // 1_000_000} MB; split it into parts.")
        return data


def find_manuals(path: Path) -> list[ManualFile]:
    """All manuals at `path`, sorted by source. Hidden files and links that lead out of the folder are skipped.

    What cannot be read but holds manuals (a bad archive, an old .doc) is listed with its problem: it costs only itself.
    Raises UserError when there is nothing to read, with what was found instead.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder. Give the path of a manual, a folder of manuals, or a .zip.")
    if path.is_file():
        is_archive = path.suffix.lower() == ".zip"
        found = _find_in_archive(path, "") if is_archive else _list_file(path, path.name)
        if not found and not is_archive:
            raise UserError(f"{path.name}: not a kind of file that can be read. Expected one of: {', '.join(SUFFIXES)}, .zip.")
    else:
        found = _find_in_folder(path)
    if not found:
        raise UserError(f"{path}: holds no manuals. Expected files that end in: {', '.join(SUFFIXES)}, .zip.")
    return sorted(found, key=lambda file: file.source)


def _find_in_folder(folder: Path) -> list[ManualFile]:
    found: list[ManualFile] = []
    for path in _walk(folder):
        source = path.relative_to(folder).as_posix()
        plain = source.encode("utf-8", "replace").decode()
        if plain != source and path.suffix.lower() in (
            *SUFFIXES,
            ".zip",
        ):  # bytes of another encoding: neither the index nor a terminal could name it
            found.append(ManualFile(path, plain, problem=f"{plain}: the file's name is not UTF-8. Rename it."))
        elif path.suffix.lower() == ".zip":
            try:
                found += _find_in_archive(path, f"{source}/")
            except UserError as error:
                found.append(ManualFile(path, source, problem=str(error)))
        elif plain == source:
            found += _list_file(path, source)
    return found


def _list_file(path: Path, source: str, member: str = "") -> list[ManualFile]:
    """The file, with its problem where it is a document of a kind that is not read; [] for files of no interest."""
    suffix = PurePosixPath(source).suffix.lower()
    if suffix == ".zip":
        return [ManualFile(path, source, member, f"{source}: an archive inside an archive is not opened. Unpack it.")]
    if suffix in _SAVE_AS:
        return [ManualFile(path, source, member, f"{source}: {suffix} files are not read. Save it as {_SAVE_AS[suffix]}.")]
    return [ManualFile(path, source, member)] if suffix in SUFFIXES else []


def _walk(folder: Path) -> Iterator[Path]:
    root = folder.resolve()
    for parent, folders, names in os.walk(folder):  # does not follow links to folders
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file() and path.resolve().is_relative_to(root):
                yield path


def _find_in_archive(path: Path, prefix: str) -> list[ManualFile]:
    """The manuals inside a .zip. Raises UserError for path tricks and for archives that unpack to too much."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path.name}: not a readable .zip ({error}). Make the archive again.") from error
    check_archive(path.name, members)
    found = []
    for info in members:
        name = PurePosixPath(info.filename)
        hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts)
        if not hidden:
            found += _list_file(path, prefix + info.filename, info.filename)
    return found


def check_archive(name: str, members: list[zipfile.ZipInfo]) -> None:
    """Refuse, with a UserError, an archive whose members leave it by path or unpack to far more than they take."""
    for info in members:
        parts = PurePosixPath(info.filename.replace("\\", "/")).parts
        if ".." in parts or info.filename.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", info.filename):
            raise UserError(f"{name}: member {info.filename!r} points outside the archive. Make the archive again.")
    unpacked, packed = sum(i.file_size for i in members), sum(i.compress_size for i in members)
    worst = max((i.file_size / max(i.compress_size, 1) for i in members if i.file_size > 10_000_000), default=0)
    if unpacked > MAX_ARCHIVE_BYTES or (unpacked > 10_000_000 and max(worst, unpacked / max(packed, 1)) > MAX_RATIO):
        raise UserError(
            f"{name}: would unpack to {unpacked // 1_000_000} MB from {packed // 1_000_000} MB. "
            "This looks like a zip bomb; unpack it yourself and give the folder."
        )


def check_office_file(data: bytes, source: str) -> None:
    """Refuse, with a UserError, a .docx, .pptx or .xlsx that is an old or protected one, is damaged, or is a bomb."""
    suffix, cure = PurePosixPath(source).suffix, "Save it anew in the program it was made with."
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise UserError(
            f"{source}: is an old {suffix[:-1]} or is protected by a password. Save it as {suffix} without a password."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_archive(source, archive.infolist())
            damaged = archive.testzip()
    except _BROKEN_ZIP as error:
        raise UserError(f"{source}: is not a readable {suffix} ({error}). {cure}") from error
    if damaged:
        raise UserError(f"{source}: is not a readable {suffix} (its part {damaged} is damaged). {cure}")
