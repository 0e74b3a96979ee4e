"""Settings: the file, then --set; unknown names and wrong types are one clear line before any work."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import pytest

from emendo.cli import main
from emendo.commands import SETTINGS
from emendo.config import check_overrides, load_settings, open_workspace
from emendo.records import UserError


@dataclass(frozen=True)
class Sample:
    epochs: float = 2.0
    rank: int = 16
    bits: Literal["nf4", "bf16"] = "nf4"
    shuffle: bool = True
    limit: float | None = None
    layers: str = ""


def test_file_then_overrides(tmp_path):
    file = tmp_path / "emendo.toml"
    file.write_text("[tune]\nepochs = 3\nrank = 8\n[other]\nx = 1\n")
    settings = load_settings(Sample, "tune", ["tune.rank=4", "tune.shuffle=false", "tune.limit=0.5", "other.x=2"], file)
    assert settings == Sample(epochs=3.0, rank=4, shuffle=False, limit=0.5)
    assert load_settings(Sample, "tune", ["tune.limit=none"]).limit is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tune.epoch=3", r"unknown setting tune\.epoch; did you mean tune\.epochs\?"),
        ("tune.rank=many", r"tune\.rank = 'many': expected a whole number"),
        ("tune.bits=int3", r"expected one of nf4, bf16"),
        ("tune.epochs=nan", r"tune\.epochs = 'nan': expected a number"),
        ("tune.limit=inf", r"tune\.limit = 'inf': expected a number"),
        (f"tune.rank=1{400 * '0'}", "expected a whole number"),
        ("tune.shuffle=perhaps", "expected true or false"),
        ("rank=4", r"expected section\.key=value"),
    ],
)
def test_bad_overrides(override, message):
    with pytest.raises(UserError, match=message):
        load_settings(Sample, "tune", [override])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rank = 2.5", r"tune\.rank = 2\.5: expected a whole number"),
        ("rank = true", "tune.rank = True"),
        ("epochs = inf", "expected a number"),
        ("layers = 4", r"tune\.layers = 4: expected text, in quotes"),
    ],
)
def test_a_value_of_another_type_in_the_file_is_told_not_bent(tmp_path, line, message):
    file = tmp_path / "emendo.toml"
    file.write_text(f"[tune]\n{line}\n")
    with pytest.raises(UserError, match=message):
        load_settings(Sample, "tune", [], file)


def test_an_unknown_section_of_the_file_is_told_by_every_command(tmp_path, capsys):
    (tmp_path / "emendo.toml").write_text("[retreive]\ncandidates = 20\n")
    assert main(["--workspace", str(tmp_path), "documents"]) == 2
    assert "unknown section 'retreive'; did you mean retrieve?" in capsys.readouterr().err


def test_settings_are_listed_with_their_values_and_meaning(tmp_path, capsys):
    (tmp_path / "emendo.toml").write_text("[tune]\nrank = 4\n")
    common = ["--workspace", str(tmp_path), "settings"]
    assert main([*common, "--set", "answer.passages=3", "--json"]) == 0
    found = {row["setting"]: row for row in json.loads(capsys.readouterr().out)}
    changed = {name for name, row in found.items() if row["value"] != row["default"]}
    assert changed == {"tune.rank", "answer.passages"}
    assert {name.partition(".")[0] for name in found} == set(SETTINGS)
    assert "nf4" in found["tune.bits"]["meaning"], "the choices"
    assert found["tune.neftune"]["meaning"].startswith("noise on the embeddings"), "the comment beside it"
    assert found["retrieve.same_above"]["meaning"].startswith("share of words"), "the comment above it"
    assert [name for name, row in found.items() if not row["meaning"]] == []
    assert "choices among the units of its passages" in found["tune.loss"]["meaning"], "the comment above it"
    assert main([*common, "tune"]) == 0
    out = capsys.readouterr().out
    assert "4 *" in out
    assert "answer." not in out


def test_unknown_section_names_the_nearest():
    with pytest.raises(UserError, match="unknown section 'tunes'; did you mean tune"):
        check_overrides(["tunes.rank=4"], {"tune": lambda: Sample})


def test_bad_toml_and_a_file_for_a_workspace(tmp_path):
    file = tmp_path / "emendo.toml"
    file.write_text("[tune\n")
    with pytest.raises(UserError, match="not valid TOML"):
        load_settings(Sample, "tune", [], file)
    with pytest.raises(UserError, match="is a file; give a folder"):
        open_workspace(str(file))
