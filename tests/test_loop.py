"""The whole loop as a newcomer runs it: `emendo demo` on the sample data, in its own process, from nothing to a verdict."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[Path, dict]:
    """(workspace, report) of one demo run."""
    workspace = tmp_path_factory.mktemp("demo") / "workspace"
    command = [sys.executable, "-m", "emendo.cli", "--workspace", str(workspace), "demo", "--no-serve"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    [report] = workspace.glob("runs/*/report.json")
    print(done.stdout)
    return workspace, json.loads(report.read_text(encoding="utf-8"))


def test_the_tuned_arm_is_significantly_better_and_nowhere_worse(demo):
    _, report = demo
    primary = report["primary"]["comparison"]
    assert report["primary"]["metric"] == "fact_recall"
    assert primary["n"] >= 180
    assert primary["difference"] > 0
    assert primary["p"] < 0.05
    assert report["verdict"] == "PROMOTE", report["reason"]
    answered = {row["metric"]: row for row in report["metrics"] if row["rag"]}
    assert answered["supported_sentences"]["after"]["value"] > 0.95, "verbatim answers stand in their passages"


def test_the_leak_check_ran_and_the_test_set_was_not_trained_on(demo):
    workspace, report = demo
    questions = [json.loads(line) for line in (ROOT / "data" / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    [card] = workspace.glob("adapters/*/card.json")
    trained = json.loads(card.read_text(encoding="utf-8"))
    assert not set(trained["clusters"]) & {question["cluster"] for question in questions}
    assert report["leaks"]["leaks"] == []
    assert {"base-rag", "base-alone", "tuned-rag", "tuned-alone"} == set(report["manifests"])


def test_the_demo_stays_within_three_gigabytes(demo):
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2  # Linux counts KiB
    assert peak <= 3.0, f"{peak:.2f} GiB"


def test_running_it_again_changes_nothing(demo):
    workspace, report = demo
    command = [sys.executable, "-m", "emendo.cli", "--workspace", str(workspace), "demo", "--no-serve", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["verdict"] == report["verdict"]
    assert len(list(workspace.glob("adapters/*/card.json"))) == 1


def test_the_tuned_adapter_serves_cited_answers_after_promotion(demo, capsys):
    from emendo.cli import main

    workspace, _ = demo
    command = ["--workspace", str(workspace)]
    assert main([*command, "promote"]) == 0
    capsys.readouterr()
    question = "How long do I have to wait after a brew cycle before I take the portafilter off?"
    assert main([*command, "ask", question, "--model", "hf:bundled", "--product", "Corvella E20 espresso machine", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["adapter"]
    assert answer["abstained"] or answer["citations"]
    assert main([*command, "rollback"]) == 0
