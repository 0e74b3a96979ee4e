"""settings: what can be set in emendo.toml and by --set, what it is now, and what it means."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
import typing
from typing import Literal

from emendo.commands import SETTINGS, Commands, add, opener, settings_class
from emendo.terminal import say, say_json, table


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "settings", "every setting with its value and meaning, or those of one step", settings)
    parser.add_argument("section", nargs="?", choices=tuple(SETTINGS), metavar="STEP", help=", ".join(SETTINGS))


def settings(args: argparse.Namespace) -> int:
    opened = opener(args)
    found = []
    for section in [args.section] if args.section else SETTINGS:
        cls = settings_class(section)
        now, meanings = opened.settings(cls, section), meanings_of(cls)
        for field in dataclasses.fields(cls):
            value, meaning = getattr(now, field.name), meanings[field.name]
            found.append({"setting": f"{section}.{field.name}", "value": value, "default": field.default, "meaning": meaning})
    if args.json:
        say_json(found)
        return 0
    shown = [(row["setting"], _told(row["value"]) + " *" * (row["value"] != row["default"]), row["meaning"]) for row in found]
    table("", ("setting", "value", "meaning"), shown)
    changed = sum(row["value"] != row["default"] for row in found)
    say(f"\n{changed} changed (*); change one in {opened.workspace.settings} or with --set SETTING=VALUE")
    return 0


def meanings_of(cls: type) -> dict[str, str]:
    """What the source says of each field of a settings dataclass: its choices, and the comment beside it or above it."""
    source = textwrap.dedent(inspect.getsource(cls))
    comments = {
        token.start[0]: (token.string.removeprefix("#").strip(), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    hints = typing.get_type_hints(cls)
    [definition] = ast.parse(source).body
    found = {}
    for node in ast.walk(definition):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first, above = node.lineno, list[str]()
            while (first := first - 1) in comments and comments[first][1]:
                above.insert(0, comments[first][0])
            within = (comments.get(line, ("", True)) for line in range(node.lineno, (node.end_lineno or node.lineno) + 1))
            said = next((comment for comment, alone in within if not alone), " ".join(above))
            choices = typing.get_args(hints[node.target.id]) if typing.get_origin(hints[node.target.id]) is Literal else ()
            found[node.target.id] = "; ".join(part for part in (" | ".join(choices), said) if part)
    return found


def _told(value: object) -> str:
    """As it is written after --set."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return str(value)
