"""Settings: the file, then --set; unknown names and wrong types are one clear line before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from emendo.config import check_overrides, load_settings, open_workspace
from emendo.records import UserError


@dataclass(frozen=True)
class Sample:
    epochs: float = 2.0
    rank: int = 16
    bits: Literal["nf4", "bf16"] = "nf4"
    shuffle: bool = True
    limit: float | None = None


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
        ("tune.shuffle=perhaps", "expected true or false"),
        ("rank=4", r"expected section\.key=value"),
    ],
)
def test_bad_overrides(override, message):
    with pytest.raises(UserError, match=message):
        load_settings(Sample, "tune", [override])


def test_unknown_section_names_the_nearest():
    with pytest.raises(UserError, match="unknown section 'tunes'; did you mean tune"):
        check_overrides(["tunes.rank=4"], {"tune": Sample})


def test_bad_toml_and_a_file_for_a_workspace(tmp_path):
    file = tmp_path / "emendo.toml"
    file.write_text("[tune\n")
    with pytest.raises(UserError, match="not valid TOML"):
        load_settings(Sample, "tune", [], file)
    with pytest.raises(UserError, match="is a file; give a folder"):
        open_workspace(str(file))
