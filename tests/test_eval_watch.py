"""Any two runs compared, and the regression gate for a user's CI."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scripted_arms import ScriptedArm, half_right, make_questions, refuse, right, wrong

from emendo.cli import build_parser, main
from emendo.commands import same_again
from emendo.records import UserError, to_json
from eval.gate import Policy
from eval.run import run_arm
from eval.watch import compare_runs, load_run, watch

QUESTIONS = make_questions(80, unanswerable=20)
POLICY = Policy()
PRIMARY_ONLY = Policy(guards="")  # 20 unanswerable questions cannot show that a guard held


def record(folder: Path, say, questions=QUESTIONS, arm: str = "base-rag", **options) -> Path:
    run_arm(arm, ScriptedArm(questions, say, **options), questions, folder)
    (folder / "policy.json").write_text("{}")
    return folder


def compared(tmp_path: Path, first, second):
    a, b = (load_run(QUESTIONS, str(record(tmp_path / name, say)), tmp_path) for name, say in (("a", first), ("b", second)))
    return compare_runs(QUESTIONS, a, b, tmp_path / "out", PRIMARY_ONLY)


def test_two_runs_are_compared_as_in_an_evaluation(tmp_path: Path) -> None:
    report = compared(tmp_path, half_right, right)
    assert (report.verdict, report.exit_code) == ("PROMOTE", 0)
    assert compared(tmp_path / "back", right, half_right).verdict == "REJECT"


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    arm = load_run(QUESTIONS, str(record(tmp_path / "a", right)), tmp_path)
    with pytest.raises(UserError, match="the same recorded answers; name two"):
        compare_runs(QUESTIONS, arm, arm, tmp_path / "out", POLICY)


def test_equal_answers_of_two_runs_are_no_gain(tmp_path: Path) -> None:
    report = compared(tmp_path, half_right, half_right)
    assert report.verdict == "INCONCLUSIVE" and "fact recall +0.0 points" in report.reason and "p = 1.0000" in report.reason


def test_runs_on_other_questions_are_invalid(tmp_path: Path) -> None:
    other = [*QUESTIONS[:70], *make_questions(90)[80:]]
    a = load_run(QUESTIONS, str(record(tmp_path / "a", right)), tmp_path)
    b = load_run(QUESTIONS, str(record(tmp_path / "b", right, other)), tmp_path)
    report = compare_runs(QUESTIONS, a, b, tmp_path / "out", POLICY)
    assert (report.verdict, report.exit_code) == ("INVALID", 3)
    assert "B has no answer to 10 of 80 questions" in report.reason
    assert "NaN" not in report.json.read_text()


def test_empty_run_and_all_refused_run_are_invalid(tmp_path: Path) -> None:
    record(tmp_path / "empty", right)
    (tmp_path / "empty" / "base-rag.jsonl").write_text("")
    a, b = (load_run(QUESTIONS, str(p), tmp_path) for p in (tmp_path / "empty", record(tmp_path / "b", right)))
    report = compare_runs(QUESTIONS, a, b, tmp_path / "out", POLICY)
    assert report.verdict == "INVALID" and "no answer to 80 of 80" in report.reason
    refused = compared(tmp_path / "r", right, refuse)
    assert refused.verdict == "INVALID" and "refused every question" in refused.reason


def test_tuned_run_without_its_training_texts_is_invalid(tmp_path: Path) -> None:
    a = load_run(QUESTIONS, str(record(tmp_path / "a", half_right)), tmp_path)
    b = load_run(QUESTIONS, str(record(tmp_path / "b", right, arm="tuned-rag", adapter_id="x1")), tmp_path)
    report = compare_runs(QUESTIONS, a, b, tmp_path / "out", POLICY)
    assert report.verdict == "INVALID" and "leaks were not looked for" in report.reason


def test_run_is_found_by_name_and_arm(tmp_path: Path) -> None:
    record(tmp_path / "one", right)
    record(tmp_path / "one", half_right, arm="base-alone")
    assert load_run(QUESTIONS, "one:base-alone", tmp_path).key == "base-alone"
    with pytest.raises(UserError, match=r"which arm.*base-alone, base-rag"):
        load_run(QUESTIONS, "one", tmp_path)
    with pytest.raises(UserError, match=r"'two' is no folder.*there: one"):
        load_run(QUESTIONS, "two", tmp_path)


def watched(tmp_path: Path, *answers, **options):
    for say in answers:
        report = watch(QUESTIONS, ScriptedArm(QUESTIONS, say), tmp_path / "watch", POLICY, **options)
    return report


def test_first_run_is_the_baseline_and_the_same_again_passes(tmp_path: Path) -> None:
    assert watched(tmp_path, right) is None
    report = watched(tmp_path, right)
    assert report is not None and (report.verdict, report.exit_code) == ("NO REGRESSION", 0)


def test_worse_answers_fail_the_build(tmp_path: Path) -> None:
    report = watched(tmp_path, right, wrong)
    assert report is not None and (report.verdict, report.exit_code) == ("REGRESSION", 1)
    suite = ElementTree.parse(report.junit).getroot()
    assert int(suite.attrib["failures"]) >= 1
    assert "fact recall" in {case.attrib["name"] for case in suite.iter("testcase") if case.find("failure") is not None}


def test_better_answers_pass_and_can_become_the_baseline(tmp_path: Path) -> None:
    report = watched(tmp_path, half_right, right)
    assert report is not None and report.verdict == "NO REGRESSION"
    assert watched(tmp_path, right, accept=True) is None
    report = watched(tmp_path, half_right)
    assert report is not None and report.verdict == "REGRESSION"


def test_changed_model_and_index_are_what_is_watched_but_changed_questions_are_invalid(tmp_path: Path) -> None:
    watched(tmp_path, right)
    arm = ScriptedArm(QUESTIONS, right, model_id="another")
    report = watch(QUESTIONS, arm, tmp_path / "watch", POLICY)
    assert report is not None and report.verdict == "NO REGRESSION"
    fewer = QUESTIONS[:-1]
    report = watch(fewer, ScriptedArm(fewer, right), tmp_path / "watch", POLICY)
    assert report is not None and (report.verdict, report.exit_code) == ("INVALID", 3)
    report = watch(more := make_questions(81), ScriptedArm(more, right), tmp_path / "watch", POLICY)
    assert report is not None and "ask it again (a watch: --accept)" in report.reason


def test_compare_command_prints_the_verdict_and_returns_it(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    (tmp_path / "q.jsonl").write_text("".join(to_json(question) + "\n" for question in QUESTIONS))
    record(tmp_path / "a", right)
    record(tmp_path / "b", half_right)
    command = ["--workspace", str(tmp_path / "ws"), "eval", "compare", str(tmp_path / "a"), str(tmp_path / "b")]
    command += ["--questions", str(tmp_path / "q.jsonl"), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "REJECT" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "as it was when they were compared" in report["method"]["hypothesis"]
    assert (report["verdict"], report["command"]) == ("REJECT", "emendo " + " ".join(command))
    assert main([*command[:-4], "--questions", str(tmp_path / "none.jsonl")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_command_that_a_report_names_is_the_call_again() -> None:
    typed = ["emendo", "--workspace", "my bots", "eval", "run", "--questions", "q.jsonl", "--judge-labels", "l.jsonl"]
    typed += ["--set", "policy.alpha=0.01"]
    args = build_parser().parse_args(typed[1:])
    given = {name: getattr(args, name) for name in ("questions", "general", "judge_labels")}
    assert shlex.split(same_again(args, "eval", "run", **given)) == typed
