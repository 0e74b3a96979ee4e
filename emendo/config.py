"""Settings (emendo.toml and --set) and the one folder that holds everything a user makes."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from emendo.files import BOM
from emendo.records import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Workspace:
    """Paths inside one workspace folder."""

    root: Path

    @property
    def index(self) -> Path:
        return self.root / "index"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def sources(self) -> Path:
        """Copies of the indexed files, so that a citation can show its page after the original moved."""
        return self.root / "sources"

    @property
    def database(self) -> Path:
        return self.root / "emendo.db"

    @property
    def refusal(self) -> Path:
        """The refusal threshold fitted on this workspace's manuals by `emendo eval refusal`."""
        return self.root / "refusal.json"

    @property
    def questions(self) -> Path:
        """Drafts of test questions, and what people decided on them."""
        return self.root / "questions"

    @property
    def settings(self) -> Path:
        return self.root / "emendo.toml"


def open_workspace(path: str | None = None) -> Workspace:
    """The workspace at `path`, else at $EMENDO_WORKSPACE, else ./workspace; made when missing."""
    root = Path(path or os.environ.get("EMENDO_WORKSPACE") or "workspace").expanduser().resolve()
    if root.exists() and not root.is_dir():
        raise UserError(f"workspace {root} is a file; give a folder with --workspace DIR")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"workspace {root} cannot be made ({error.strerror}); give another folder with --workspace DIR"
        ) from error
    return Workspace(root)


def load_settings(cls: type[T], section: str, overrides: Sequence[str] = (), file: Path | None = None) -> T:
    """The dataclass `cls` filled from `[section]` of the TOML `file`, then from `section.key=value` overrides.

    Unknown sections of other steps in the file are left alone; an unknown key of this one raises UserError naming the nearest.
    """
    values: dict[str, Any] = {}
    if file is not None and file.exists():
        table = _read_toml(file)
        if not isinstance(table.get(section, {}), Mapping):
            raise UserError(f"{file}: `{section}` is a value; expected a table, written [{section}]")
        values.update(table.get(section, {}))
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals or "." not in name:
            raise UserError(f"--set {override}: expected section.key=value, for example --set tune.epochs=2")
        if name.split(".", 1)[0] == section:
            values[name.split(".", 1)[1]] = value
    return make_settings(cls, values, section)


def file_overrides(file: Path) -> list[str]:
    """The settings of a TOML file as `section.key=value` overrides; UserError when it is missing or no TOML."""
    if not file.is_file():
        raise UserError(f"--set-file {file}: there is no such file; `emendo sweep` writes one")
    table = _read_toml(file)
    sections = {section: values for section, values in table.items() if isinstance(values, Mapping)}
    if len(sections) < len(table):
        raise UserError(
            f"{file}: `{min(set(table) - set(sections))}` stands in no section; expected [tune] above it, for example"
        )
    return [f"{section}.{key}={value}" for section, values in sections.items() for key, value in values.items()]


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8").removeprefix(BOM))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid TOML: {error}") from error


def make_settings(cls: type[T], values: Mapping[str, Any], section: str) -> T:
    """`cls(**values)` with text converted to each field's type; UserError for an unknown key or a bad value."""
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"; did you mean {section}.{near[0]}?" if near else f"; known: {', '.join(hints)}"
            raise UserError(f"unknown setting {section}.{key}{hint}")
    converted = {key: _convert(value, hints[key], f"{section}.{key}") for key, value in values.items()}
    try:
        return cls(**converted)
    except ValueError as error:
        raise UserError(f"[{section}] {error}") from error


def check_overrides(overrides: Sequence[str], sections: Mapping[str, Callable[[], type]]) -> None:
    """Raise UserError for an override whose section or key no step has, before any work starts.

    `sections` gives the settings of each section when they are asked for, so that only the steps that are named are loaded.
    """
    for override in overrides:
        section = override.partition("=")[0].partition(".")[0]
        _check_section(section, sections, f"--set {override}")
        load_settings(sections[section](), section, [override])


def check_file(file: Path, sections: Collection[str]) -> None:
    """Raise UserError for a section of emendo.toml that no step has; keys are checked by the step that reads them."""
    for section in _read_toml(file) if file.exists() else ():
        _check_section(section, sections, str(file))


def _check_section(section: str, known: Collection[str], where: str) -> None:
    if section not in known:
        near = difflib.get_close_matches(section, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{where}: unknown section {section!r}{hint} (known: {', '.join(known)})")


def _convert(value: Any, hint: Any, name: str) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        if value in (None, "none"):
            return None
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            raise UserError(f"{name} = {value!r}: expected one of {', '.join(map(str, typing.get_args(hint)))}")
        return value
    if hint is bool:
        word = str(value).lower()
        if word not in ("true", "false"):
            raise UserError(f"{name} = {value!r}: expected true or false")
        return word == "true"
    if hint in (int, float) and not isinstance(value, bool):
        try:
            number = hint(value)
            bent = not math.isfinite(number) or (isinstance(value, float) and number != value)  # int(2.5) is 2
        except (TypeError, ValueError, OverflowError):
            bent = True
        if bent:
            raise UserError(f"{name} = {value!r}: expected {'a whole number' if hint is int else 'a number'}")
        return number
    if (hint is str and isinstance(value, str)) or dataclasses.is_dataclass(hint):
        return value
    wanted = "text, in quotes" if hint is str else hint
    raise UserError(f"{name} = {value!r}: expected {wanted}")
