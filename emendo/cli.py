"""The command line: the table of contents of Emendo. Each command's function is in emendo/commands/."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from emendo import __version__
from emendo.commands import (
    answering,
    benching,
    configuring,
    drafting,
    inspecting,
    judging,
    learning,
    serving,
    showing,
    sweeping,
    tasks,
    tuning,
    users,
)
from emendo.records import UserError


def build_parser() -> argparse.ArgumentParser:
    """All commands. Options of `common` may stand before or after the command's name."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    everywhere = common.add_argument_group("options of every command")
    everywhere.add_argument(
        "--workspace", metavar="DIR", help="folder of everything you make (default: $EMENDO_WORKSPACE or ./workspace)"
    )
    everywhere.add_argument(
        "--set", metavar="STEP.KEY=VALUE", action="append", dest="overrides", help="a setting, as in emendo.toml"
    )
    everywhere.add_argument(
        "--set-file", metavar="FILE.toml", help="settings as in emendo.toml, which they overrule; --set overrules them"
    )
    everywhere.add_argument("--json", action="store_true", help="print results as JSON")
    parser = argparse.ArgumentParser(
        prog="emendo", description="Support bots from product manuals that learn from being corrected.", parents=[common]
    )
    parser.add_argument("--version", action="version", version=f"emendo {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (
        answering,
        inspecting,
        learning,
        tuning,
        sweeping,
        judging,
        tasks,
        benching,
        drafting,
        showing,
        configuring,
        users,
        serving,
    ):
        group.add_commands(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 2 on an error the user can repair, else what the command says (a verdict, for example)."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # oneDNN keeps buffers for each shape of a matrix it has met, 1,024 of them if nobody says otherwise (docs/decisions.md)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    args = build_parser().parse_args(argv)
    for name, default in (("workspace", None), ("overrides", []), ("json", False), ("set_file", None)):
        if not hasattr(args, name):
            setattr(args, name, default)
    try:
        if args.set_file:
            from emendo.config import file_overrides

            args.overrides = [*file_overrides(Path(args.set_file)), *args.overrides]
        return int(args.run(args) or 0)
    except UserError as error:
        print(f"emendo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("emendo: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        told = _outside(error)
        if not told:
            raise  # a fault of Emendo's own: the traceback says where
        print(f"emendo: {told}", file=sys.stderr)
        return 2


def _outside(error: Exception) -> str:
    """What failed on the disk, in the database or at a model's server, with its cure; "" for anything else."""
    if isinstance(error, OSError) and (error.filename or error.errno == errno.ENOSPC):
        place = error.filename2 or error.filename or "the disk"
        return f"{place}: {error.strerror}; give another place, or make this one writable"
    database = sys.modules.get("sqlalchemy.exc")
    if database and isinstance(error, database.OperationalError):
        return f"the database does not answer ({error.orig}); free space, end what holds it, or check EMENDO_DATABASE"
    models = sys.modules.get("langchain_core.exceptions")
    if models and isinstance(error, models.ModelError):
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return f"the model's server did not answer ({reason}); check that it runs, its address and OPENAI_API_KEY"
    return ""


if __name__ == "__main__":
    sys.exit(main())
