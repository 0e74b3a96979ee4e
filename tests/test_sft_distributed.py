"""More than one device: two gloo ranks on the CPU stand for two GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from two_ranks import sharded_losses, tuned_losses

from emendo.records import UserError
from sft.arguments import check_distribution

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def two_ranks(tiny_model, tmp_path_factory) -> dict[str, list[float]]:
    """Losses as two processes found them."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "tests/two_ranks.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, str(tiny_model), str(folder)], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "losses.json").read_text())


@pytest.mark.parametrize(("loss", "rounding"), [("tokens", 2e-3), ("choices", 1e-2)])  # choices compare few logits
def test_two_processes_have_the_losses_of_one_with_the_same_global_batch(two_ranks, tiny_model, tmp_path, loss, rounding):
    alone = tuned_losses(str(tiny_model), loss, tmp_path, batch_size=2)
    assert len(alone) == 7, "six updates of two rows, one validation"
    assert two_ranks[loss] == pytest.approx(alone, rel=rounding)  # bf16 matrices of other shapes round differently


def test_fully_sharded_layers_have_the_losses_of_whole_ones(two_ranks, tiny_model):
    alone = sharded_losses(str(tiny_model), 1, 0)
    assert alone[-1] < alone[0]
    assert two_ranks["sharded"] == pytest.approx(alone, rel=1e-4)


def test_sharding_that_was_asked_for_and_is_not_done_stops_the_run(monkeypatch):
    """On a CPU accelerate reads an FSDP configuration and goes on without it."""
    from accelerate.utils import DistributedType

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    check_distribution(DistributedType.FSDP, "bf16")
    with pytest.raises(UserError, match="--bits bf16"):
        check_distribution(DistributedType.FSDP, "nf4")
    with pytest.raises(UserError, match="FSDP was asked for, but accelerate runs with NO"):
        check_distribution(DistributedType.NO, "nf4")
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    check_distribution(DistributedType.NO, "nf4")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were started"):
        check_distribution(DistributedType.NO, "nf4")
