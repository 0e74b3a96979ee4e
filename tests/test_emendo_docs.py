"""What README and docs tell people to type exists: commands, their options, settings, and files."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from emendo.cli import build_parser
from emendo.commands import SETTINGS, settings_class

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(parser: argparse.ArgumentParser, name: str = "") -> dict[str, set[str]]:
    """Command, "eval run" for example -> its options."""
    found = {name: {option for action in parser._actions for option in action.option_strings}}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                found |= commands(inner, f"{name} {word}".strip())
    return found


KNOWN = commands(build_parser())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page):
    for told in re.findall(r"`(emendo [^`]+)`|^(emendo .+)$", page.read_text(), re.M):
        words = re.split(r"\s[#|>&;]|;", " ".join(told).strip())[0].split()[1:]
        while words and words[0].startswith("-"):  # --workspace DIR before the command
            words = words[2:]
        name = " ".join(words[:2]) if " ".join(words[:2]) in KNOWN else (words or [""])[0]
        assert name in KNOWN, f"{page.name}: {told}"
        options = {re.split(r"[=\]]", word.strip("[,.)"))[0] for word in words if word.strip("[").startswith("--")}
        group = set().union(*(options for known, options in KNOWN.items() if known.split()[:1] == name.split()[:1]))
        assert options <= group, f"{page.name}: {told}: {options - group}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_whole_command_lines_parse(page):
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S):
        for line in re.findall(r"^emendo .+$", block, re.M):
            command = re.split(r"\s[|>&]|;", line)[0]
            build_parser().parse_args(shlex.split(command, comments=True)[1:])  # exits where it does not


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_and_files_exist(page):
    text = page.read_text()
    for section, key in re.findall(rf"\b({'|'.join(SETTINGS)})\.([a-z_]+)=", text):
        assert key in {field.name for field in dataclasses.fields(settings_class(section))}, f"{page.name}: {section}.{key}"
    for path in re.findall(
        r"\b((?:emendo|rag|sft|serve|eval|benchmarks|tests|docs|data)/[\w/-]+\.(?:py|md|jsonl|toml|png|txt))\b", text
    ):
        assert (ROOT / path).exists(), f"{page.name}: {path}"
