"""The commands, by what they are for. Modules import the rooms inside their functions, so that `--help` is quick."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

Commands = Any  # argparse's sub-parsers object has no public type
QUESTION_ROWS = "rows with id, question, answerable, and facts or answer where it is answerable"


def add(
    commands: Commands, common: argparse.ArgumentParser, name: str, summary: str, run: Callable[[argparse.Namespace], int | None]
) -> argparse.ArgumentParser:
    """A command called `name`, run by `run`, with the common options."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary, parents=[common])
    parser.set_defaults(run=run)
    return parser


def at_least_one(text: str) -> int:
    """The type of an option that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 or more")
    return int(text)


def opener(args: argparse.Namespace) -> Any:
    """The workspace of the call, its settings checked before any work."""
    from emendo.config import check_overrides, open_workspace
    from rag.assemble import Opener

    if args.overrides:
        check_overrides(args.overrides, settings_classes())
    return Opener(open_workspace(args.workspace), tuple(args.overrides))


def settings_classes() -> dict[str, type]:
    """The settings of every step, by their section of emendo.toml."""
    from eval.gate import Policy
    from rag.answer import AnswerSettings
    from rag.assemble import IndexSettings, ModelSettings
    from rag.retrieve import RetrieveSettings
    from serve.session import ServeSettings
    from sft.examples import ExampleSettings
    from sft.preference import PreferenceSettings
    from sft.retriever import RetrieverSettings
    from sft.sweep import SweepSettings
    from sft.thumbs import ThumbsSettings
    from sft.train import TuneSettings

    return {
        "index": IndexSettings,
        "retrieve": RetrieveSettings,
        "retriever": RetrieverSettings,
        "answer": AnswerSettings,
        "model": ModelSettings,
        "examples": ExampleSettings,
        "tune": TuneSettings,
        "sweep": SweepSettings,
        "preference": PreferenceSettings,
        "thumbs": ThumbsSettings,
        "policy": Policy,
        "serve": ServeSettings,
    }


def open_store(args: argparse.Namespace) -> Any:
    from emendo.config import open_workspace
    from emendo.store import Store

    return Store(os.environ.get("EMENDO_DATABASE") or open_workspace(args.workspace).database)
