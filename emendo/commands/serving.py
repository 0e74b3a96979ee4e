"""backup and restore."""

from __future__ import annotations

import argparse
from pathlib import Path

from emendo.commands import Commands, add, open_store
from emendo.records import UserError
from emendo.terminal import say, say_json


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "backup", "the whole workspace in one .zip file, also while it is served", backup)
    parser.add_argument("file", type=Path, metavar="FILE.zip")
    parser = add(commands, common, "restore", "a backup into an empty workspace", restore)
    parser.add_argument("file", type=Path, metavar="FILE.zip")


def backup(args: argparse.Namespace) -> int:
    from emendo.backup import write_backup
    from emendo.config import open_workspace
    from rag.snapshot import writer_lock

    if args.file.exists():
        raise UserError(f"{args.file} exists; give a new name")
    workspace = open_workspace(args.workspace)
    with writer_lock(workspace.index):  # no snapshot comes or goes meanwhile
        count = write_backup(workspace, open_store(args), args.file)
    say_json({"file": str(args.file), "files": count}) if args.json else say(f"{count} files written to {args.file}")
    return 0


def restore(args: argparse.Namespace) -> int:
    from emendo.backup import read_backup
    from emendo.config import open_workspace

    workspace = open_workspace(args.workspace)
    count = read_backup(args.file, workspace)
    say_json({"files": count}) if args.json else say(f"{count} files restored into {workspace.root}")
    return 0
