"""The leaderboard of several models."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from scripted_arms import ScriptedArm, half_right, make_questions, refuse, right

from emendo.cli import main
from emendo.records import UserError
from eval.bench import Contender, bench

QUESTIONS = make_questions(40, unanswerable=10)


def contender(name: str, say, **prices) -> Contender:
    return Contender(name, lambda: ScriptedArm(QUESTIONS, say, model_id=name), **prices)


def test_models_are_ranked_with_intervals_and_tested_against_the_leader(tmp_path: Path) -> None:
    rows = bench(QUESTIONS, [contender("half", half_right), contender("mute", refuse), contender("best", right)], tmp_path)
    assert [row.name for row in rows] == ["best", "half", "mute"]
    best, half, mute = rows
    assert best.score is not None and half.score is not None
    assert (best.score.value, half.score.value, best.behind) == (1.0, pytest.approx(0.625), None)
    assert best.score.interval.low < 1.0
    assert half.behind == pytest.approx(0.375)
    assert half.p_behind is not None and half.p_behind < 0.05
    assert mute.answered is not None and mute.answered.value == 0.0
    assert mute.refused_unanswerable is not None and mute.refused_unanswerable.value == 1.0
    assert best.p50 == pytest.approx(0.21)


def test_cost_comes_from_tokens_and_prices(tmp_path: Path) -> None:
    [row] = bench(QUESTIONS, [contender("paid", right, price_in=2.0, price_out=10.0)], tmp_path)
    assert row.tokens_estimated
    assert row.cost_per_1000 == pytest.approx((2 * row.tokens_in + 10 * row.tokens_out) / 1000)
    assert row.tokens_in > row.tokens_out > 0


def test_interrupted_bench_asks_nothing_twice(tmp_path: Path) -> None:
    bench(QUESTIONS, [contender("best", right)], tmp_path)
    silent = ScriptedArm(QUESTIONS, right, model_id="best")
    bench(QUESTIONS, [Contender("best", lambda: silent), contender("half", half_right)], tmp_path)
    assert silent.asked == []


def test_model_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="named twice"):
        bench(QUESTIONS, [contender("a", right), contender("a", refuse)], tmp_path)


def test_unscorable_questions_are_told_not_counted_as_wrong(tmp_path: Path) -> None:
    import dataclasses

    bare = [dataclasses.replace(q, facts=()) for q in QUESTIONS[:20]]
    [row] = bench(bare, [Contender("best", lambda: ScriptedArm(bare, right))], tmp_path)
    assert row.score is None
    assert row.reason == "the question has no gold facts"


def test_bench_and_watch_commands_on_a_small_manual(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    (tmp_path / "lamp.md").write_text("# Lumo lamp\n\n## Bulb\n\nLet the bulb cool for 15 minutes before you turn it.\n")
    row = {"id": "q1", "question": "How long must the bulb cool?", "answerable": True, "facts": ["15 minutes"]}
    none = {"id": "q2", "question": "Which colours is it sold in?", "answerable": False}
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(none) + "\n")
    (tmp_path / "script.json").write_text(json.dumps({row["question"]: "Let it cool for 15 minutes. [1]"}))
    good, questions = f"scripted:{tmp_path / 'script.json'}", ["--questions", str(tmp_path / "q.jsonl")]
    common = ["--workspace", str(tmp_path / "ws")]
    assert main([*common, "index", str(tmp_path / "lamp.md")]) == 0
    assert main([*common, "bench", good, "quote", *questions, "--price", f"{good}=1,2", "--json"]) == 0
    printed = capsys.readouterr().out
    rows = json.loads(printed[printed.index("[\n") :])
    assert rows[0]["score"]["value"] == 1.0 and rows[0]["cost_per_1000"] > 0
    assert main([*common, "bench", good, *questions, "--price", "other=1,2"]) == 2
    assert main([*common, "bench", "scripted:none.json", "hf:bundled+nope", *questions]) == 2
    assert "adapter" in capsys.readouterr().err, "told before the first model is asked"
    watch = [*common, "eval", "watch", str(tmp_path / "watch"), *questions]
    assert main([*watch, "--model", good]) == 0
    assert main([*watch, "--model", good]) == 0
    assert "NO REGRESSION" in capsys.readouterr().out
    report = json.loads((tmp_path / "watch" / "report.json").read_text())
    assert report["command"] == shlex.join(["emendo", *watch, "--model", good])
    assert report["method"]["several tests"].startswith("6 metrics must all hold for NO REGRESSION")
    assert report["method"]["hypothesis"].startswith("H0: fact recall or a guard has fallen by its margin")
    (tmp_path / "script.json").write_text("{}")
    assert main([*watch, "--model", good]) == 3
    assert "refused every question" in capsys.readouterr().out
