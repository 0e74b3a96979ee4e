"""A workspace in one .zip file and back: database, index, kept manuals, adapters, settings, reports.

The database is copied with SQLite's own backup, so that a server may go on writing; index snapshots and adapters never change
when once written. The manifest goes in last and holds every file's sha256.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from emendo import __version__
from emendo.config import Workspace
from emendo.records import UserError
from emendo.store import Store

MANIFEST = "backup.json"
LEFT_OUT = (".upload-", "emendo.db")  # unfinished uploads; the live database, whose copy goes in instead


def write_backup(workspace: Workspace, store: Store, target: Path) -> int:
    """Write `target` whole or not at all; the number of files. A PostgreSQL database is left to its own tool (pg_dump)."""
    part = target.with_name(f"{target.name}.part")
    sums: dict[str, str] = {}
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive,
        ):
            files = [(path, path.relative_to(workspace.root).as_posix()) for path in _files(workspace.root, target, part)]
            if store.is_file:
                files.append((store.backup(Path(folder) / "emendo.db"), "emendo.db"))
            for path, name in files:
                sums[name] = _add(archive, path, name)
            archive.writestr(MANIFEST, json.dumps({"emendo": __version__, "files": sums}))
        part.replace(target)
    except OSError as error:
        raise UserError(f"backup {target}: {error.strerror or error}; free space or give another place") from error
    finally:
        part.unlink(missing_ok=True)
    return len(sums)


def read_backup(source: Path, workspace: Workspace) -> int:
    """Unpack into an empty workspace; the number of files. UserError, and nothing unpacked, for a damaged or foreign file."""
    if any(workspace.root.iterdir()):
        raise UserError(f"workspace {workspace.root} is not empty; restore into a new one with --workspace DIR")
    part = Path(tempfile.mkdtemp(prefix=".restore-", dir=workspace.root.parent))
    try:
        with zipfile.ZipFile(source) as archive:
            sums: dict[str, str] = json.loads(archive.read(MANIFEST))["files"]
            for name, expected in sums.items():
                path = part / _inside(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as packed, path.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
                if _sum(path) != expected:
                    raise UserError(f"{source}: {name} is damaged; take another backup")
        workspace.root.rmdir()
        part.replace(workspace.root)
    except UserError:
        raise
    except Exception as error:  # a damaged archive may raise anything inside zipfile and zlib
        raise UserError(f"{source} is not a whole backup of Emendo ({error}); take another file") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(sums)


def _files(root: Path, *own: Path) -> list[Path]:
    skipped = {path.resolve() for path in own}
    found = (path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink())
    return [p for p in found if p.resolve() not in skipped and not p.relative_to(root).as_posix().startswith(LEFT_OUT)]


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source, archive.open(zipfile.ZipInfo.from_file(path, name), "w", force_zip64=True) as packed:
        while block := source.read(2**20):
            digest.update(block)
            packed.write(block)
    return digest.hexdigest()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name} would be written outside the workspace")
    return path
