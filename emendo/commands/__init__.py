"""The commands, by what they are for. Modules import the rooms inside their functions, so that `--help` is quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Commands = Any  # argparse's sub-parsers object has no public type


def add(
    commands: Commands, common: argparse.ArgumentParser, name: str, summary: str, run: Callable[[argparse.Namespace], int | None]
) -> argparse.ArgumentParser:
    """A command called `name`, run by `run`, with the common options."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary, parents=[common])
    parser.set_defaults(run=run)
    return parser


def opener(args: argparse.Namespace) -> Any:
    """The workspace of the call, its settings checked before any work."""
    from emendo.config import check_overrides, open_workspace
    from rag.answer import AnswerSettings
    from rag.assemble import IndexSettings, ModelSettings, Opener
    from rag.retrieve import RetrieveSettings
    from sft.examples import ExampleSettings
    from sft.train import TuneSettings

    sections = {
        "index": IndexSettings,
        "retrieve": RetrieveSettings,
        "answer": AnswerSettings,
        "model": ModelSettings,
        "examples": ExampleSettings,
        "tune": TuneSettings,
    }
    check_overrides(args.overrides, sections)
    return Opener(open_workspace(args.workspace), tuple(args.overrides))


def open_store(args: argparse.Namespace) -> Any:
    from emendo.config import open_workspace
    from emendo.store import Store

    return Store(open_workspace(args.workspace).database)
