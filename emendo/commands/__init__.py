"""The commands, by what they are for. Modules import the rooms inside their functions, so that `--help` is quick."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

from emendo.records import UserError

Commands = Any  # argparse's sub-parsers object has no public type
SETTINGS = {  # section of emendo.toml -> its settings, by name: a command loads the steps it needs
    "index": "rag.assemble:IndexSettings",
    "retrieve": "rag.retrieve:RetrieveSettings",
    "retriever": "sft.retriever:RetrieverSettings",
    "answer": "rag.answer:AnswerSettings",
    "model": "rag.assemble:ModelSettings",
    "examples": "sft.examples:ExampleSettings",
    "tune": "sft.train:TuneSettings",
    "sweep": "sft.sweep:SweepSettings",
    "preference": "sft.preference:PreferenceSettings",
    "thumbs": "sft.thumbs:ThumbsSettings",
    "policy": "eval.gate:Policy",
    "serve": "serve.session:ServeSettings",
}
NOT_TEXT = "the question is not UTF-8 text; set the terminal to UTF-8, or give the question in a file (--questions)"
QUESTION_ROWS = "rows with id, question, answerable, and facts or answer where it is answerable"


def add(
    commands: Commands, common: argparse.ArgumentParser, name: str, summary: str, run: Callable[[argparse.Namespace], int | None]
) -> argparse.ArgumentParser:
    """A command called `name`, run by `run`, with the common options."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary, parents=[common])
    parser.set_defaults(run=run)
    return parser


def same_again(args: argparse.Namespace, *words: object, **options: object) -> str:
    """A command line for a report to name: `words`, the options that have a value, and the call's workspace and settings."""
    place = ["--workspace", args.workspace] if args.workspace else []
    given = [part for name, value in options.items() if value for part in (f"--{name.replace('_', '-')}", value)]
    settings = [part for override in args.overrides for part in ("--set", override)]
    return shlex.join(map(str, ["emendo", *place, *words, *given, *settings]))


def at_least_one(text: str) -> int:
    """The type of an option that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 or more")
    return int(text)


def typed(text: str) -> str:
    """The words of a question from the command line; UserError for bytes that are no text there."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(NOT_TEXT) from error
    return text.strip()


def opener(args: argparse.Namespace) -> Any:
    """The workspace of the call, its settings checked before any work."""
    from emendo.config import check_file, check_overrides, open_workspace
    from rag.assemble import Opener

    workspace = open_workspace(args.workspace)
    check_file(workspace.settings, SETTINGS)
    check_overrides(args.overrides, {section: partial(settings_class, section) for section in SETTINGS})
    return Opener(workspace, tuple(args.overrides))


def settings_class(section: str) -> type:
    """The settings of the step whose section of emendo.toml this is."""
    module, _, name = SETTINGS[section].partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


def open_store(args: argparse.Namespace) -> Any:
    from emendo.config import open_workspace
    from emendo.store import Store

    return Store(os.environ.get("EMENDO_DATABASE") or open_workspace(args.workspace).database)
