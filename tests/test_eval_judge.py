"""A language model as a second opinion, asked over HTTP as OpenAI's clients do."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scripted_arms import ScriptedArm, half_right, make_questions, refuse, right
from statsmodels.stats.inter_rater import cohens_kappa

from emendo.chat_models import load_chat_model
from emendo.cli import main
from emendo.records import UserError, to_json
from eval.compare import Background
from eval.gate import Policy
from eval.llm_judge import Judge, Preference, agreement, check_judge, load_labels
from eval.report import Report
from eval.run import run_arm
from eval.watch import compare_runs, load_run

QUESTIONS = make_questions(30, unanswerable=10)
POLICY = Policy(guards="")


class Endpoint:
    """A server of /v1/chat/completions whose models judge by rule: `fair` takes the answer with more of the reference's words,
    `first` always A, `vague` never decides. Counts its requests; after `fail_after` of them it answers 500."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fail_after = 10**6
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                prompt = body["messages"][-1]["content"]
                endpoint.asked.append(prompt)
                text = endpoint.rule(body["model"], prompt)
                choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                reply = json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})
                self.send_response(400 if len(endpoint.asked) > endpoint.fail_after else 200)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(reply.encode())

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def rule(model: str, prompt: str) -> str:
        if model != "fair":
            return {"first": "A", "vague": "Both have their merits."}[model]
        part = {
            n: set(re.search(rf"<{n}>\n(.*?)\n</{n}>", prompt, re.S)[1].split()) for n in ("reference", "answer A", "answer B")
        }  # type: ignore[index]
        a, b = (len(part["reference"] & part[f"answer {letter}"]) for letter in "AB")
        return "Counting words.\n" + ("**A**" if a > b else "**B**" if b > a else "TIE")

    def judge(self, model: str, labels: dict | None = None) -> Judge:
        spec = f"openai:{self.url}#{model}"
        return Judge(spec, load_chat_model(spec, max_new_tokens=64), labels or {})


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.server.shutdown()
    made.server.server_close()


def compared(folder: Path, first, second, referee: Judge | None, policy: Policy = POLICY) -> Report:
    sides = []
    for name, say in (("a", first), ("b", second)):
        run_arm("base-rag", ScriptedArm(QUESTIONS, say), QUESTIONS, folder / name)
        sides.append(load_run(QUESTIONS, str(folder / name), folder))
    return compare_runs(QUESTIONS, *sides, folder / "out", policy, Background(referee=referee))


def preference(report: Report) -> dict:
    data = json.loads(report.json.read_text())
    return next(row for row in data["metrics"] if row["metric"] == "judge_preference")


def test_judge_is_a_secondary_metric_with_n_and_interval_and_decides_nothing(tmp_path: Path, endpoint: Endpoint) -> None:
    alone = compared(tmp_path / "alone", right, half_right, None)
    judged = compared(tmp_path / "judged", right, half_right, endpoint.judge("fair"))
    assert (judged.verdict, judged.reason) == (alone.verdict, alone.reason)
    row = preference(judged)
    wins = sum(right(q) != half_right(q) for q in QUESTIONS)
    assert (row["comparison"]["n"], row["comparison"]["worsened"]) == (30, wins)
    assert row["before"]["value"] == pytest.approx((wins + 0.5 * (30 - wins)) / 30)
    assert row["comparison"]["interval"]["high"] < 0
    assert len(endpoint.asked) == 2 * wins  # equal answers are a tie without asking
    page = judged.html.read_text()
    assert "Preferred by the judge" in page and "no part of the gate" in page
    assert "judge_preference" not in {row["metric"] for row in json.loads(alone.json.read_text())["metrics"]}


def test_what_was_asked_once_is_not_asked_again(tmp_path: Path, endpoint: Endpoint) -> None:
    first = compared(tmp_path, right, half_right, endpoint.judge("fair"))
    rows = [json.loads(line) for line in (tmp_path / "out" / "judge" / "replies.jsonl").read_text().splitlines()]
    assert {row["question_id"] for row in rows} == {q.id for q in QUESTIONS if q.answerable}
    asked = len(endpoint.asked)
    again = compared(tmp_path, right, half_right, endpoint.judge("fair"))
    assert len(endpoint.asked) == asked
    assert preference(again) == preference(first)


def test_verdict_that_changes_with_the_order_is_a_tie(tmp_path: Path, endpoint: Endpoint) -> None:
    report = compared(tmp_path, right, half_right, endpoint.judge("first"))
    assert preference(report)["comparison"]["difference"] == 0
    shown = dict(report.tables[-1].rows)
    assert shown["tie"].startswith("30 of 30")
    assert shown["of these: swayed by the order of the answers"].startswith("20 of 20")


def test_replies_that_are_no_verdict_are_unscored_not_ties(tmp_path: Path, endpoint: Endpoint) -> None:
    row = preference(compared(tmp_path, right, half_right, endpoint.judge("vague")))
    assert (row["comparison"]["n"], row["unscored"]) == (10, 20)


def test_failing_endpoint_is_told_and_what_was_said_is_kept(tmp_path: Path, endpoint: Endpoint) -> None:
    endpoint.fail_after = 36
    with pytest.raises(UserError, match=r"did not answer .*run the same command again"):
        compared(tmp_path, right, half_right, endpoint.judge("fair"))
    kept = len((tmp_path / "out" / "judge" / "replies.jsonl").read_text().splitlines())
    assert kept == 16
    endpoint.fail_after, before = 10**6, len(endpoint.asked)
    compared(tmp_path, right, half_right, endpoint.judge("fair"))
    assert len(endpoint.asked) - before == 2 * (20 - kept)


def test_policy_can_make_the_judge_a_guard_or_the_primary(tmp_path: Path, endpoint: Endpoint) -> None:
    guarded = compared(tmp_path / "g", half_right, right, endpoint.judge("fair"), Policy(guards="judge_preference"))
    assert guarded.verdict == "PROMOTE"
    primary = compared(tmp_path / "p", right, half_right, endpoint.judge("fair"), Policy(primary="judge_preference", guards=""))
    assert primary.verdict == "REJECT"
    with pytest.raises(UserError, match="name a judge with --judge"):
        compared(tmp_path / "n", right, half_right, None, Policy(primary="judge_preference", guards=""))


@pytest.mark.parametrize(
    ("spec", "tested", "told"),
    [
        ("openai:http://h/v1#m", ["openai:http://h/v1#m"], "model under test"),
        ("openai:http://other/v1#m", ["m"], "model under test"),
        ("openai:http://h/v1#bundled", ["hf:bundled"], "model under test"),
        ("hf:bundled", [], "expected openai:"),
        ("openai:h#m", [], "expected openai:"),
        ("openai:http://h/v1#", [], "expected openai:"),
    ],
)
def test_wrong_judges_are_refused(spec: str, tested: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_judge(spec, tested)


def test_agreement_with_people_equals_statsmodels(tmp_path: Path, endpoint: Endpoint) -> None:
    choices = ["after", "before", "tie", "after", "after", "tie", "before", "after", "after"]
    people = ["after", "before", "after", "after", "tie", "tie", "after", "after", "before"]
    found = agreement(
        [Preference(str(n), c, ("", "")) for n, c in enumerate(choices)],  # type: ignore[arg-type]
        {str(n): c for n, c in enumerate(people)},  # type: ignore[misc]
    )
    names = ["before", "after", "tie"]
    table = [[sum(pair == (a, b) for pair in zip(choices, people, strict=True)) for b in names] for a in names]
    assert (found.n, found.same) == (9, 5)
    assert found.kappa == pytest.approx(cohens_kappa(table).kappa)
    labels = {q.id: "before" if q.answerable else "tie" for q in QUESTIONS}
    shown = dict(compared(tmp_path, right, half_right, endpoint.judge("fair", labels)).tables[-1].rows)
    assert shown["agrees with people"].startswith("30 of 30")
    assert shown["Cohen's kappa with people"] == "1.00 [0.74, 1.00], n = 30"


def test_labels_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    for text, told in (
        ('{"id": "q", "preferred": "A"}', "labels.jsonl:1: expected"),
        ('{"id": "q", "preferred": "tie"}\n' * 2, "twice"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=told):
            load_labels(file)


def test_command_line_judges_two_runs(tmp_path: Path, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    for name, say in (("a", refuse), ("b", right)):
        run_arm("base-rag", ScriptedArm(QUESTIONS, say, model_id="small"), QUESTIONS, tmp_path / "workspace/runs" / name)
    (tmp_path / "q.jsonl").write_text("".join(to_json(q) + "\n" for q in QUESTIONS))
    command = ["eval", "compare", "a", "b", "--questions", str(tmp_path / "q.jsonl"), "--out", str(tmp_path / "out")]
    place = ["--workspace", str(tmp_path / "workspace")]
    main([*command, *place, "--judge", f"openai:{endpoint.url}#fair"])
    assert "judge_preference" in capsys.readouterr().out
    assert main([*command, *place, "--judge", f"openai:{endpoint.url}#small"]) == 2
    assert "model under test" in capsys.readouterr().err
    assert main([*command, *place, "--judge-labels", str(tmp_path / "q.jsonl")]) == 2
