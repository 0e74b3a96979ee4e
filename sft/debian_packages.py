"""Debian's packages as a source of openly licensed manuals: fetched and unpacked, never kept in the repository."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

from emendo.records import UserError

_log = logging.getLogger(__name__)


def fetch(package: str, folder: Path, version: str = "") -> Path:
    """`folder/package`, downloaded and unpacked if it is not there yet. Needs apt-get and dpkg, on Debian 12; no root.

    Says so when Debian now has another version than `version`. UserError when the package cannot be had.
    """
    unpacked = folder / package
    if unpacked.is_dir():
        return unpacked
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
        [archive] = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", str(archive), str(unpacked)], check=True, capture_output=True)
        found = subprocess.run(
            ["dpkg-deb", "-f", str(archive), "Version"], check=True, capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise UserError(f"cannot fetch {package}: {error}; on Debian 12 run `apt-get update` first") from error
    if version and found != version:
        _log.warning("%s: version %s, expected %s: its text may have changed", package, found, version)
    archive.unlink()
    return unpacked
