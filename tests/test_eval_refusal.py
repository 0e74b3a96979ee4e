"""When to refuse: the threshold keeps its promise, the curve is what it says, and `ask` follows what was fitted."""

from __future__ import annotations

import json

import pytest

from emendo.cli import main
from emendo.records import UserError
from eval.refusal import at_threshold, best_threshold, fit_refusal, risk_coverage

GOOD = [0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.95]
BAD = [0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.4, 0.45, 0.55, 0.72]
CONFIDENCES, ANSWERABLE = GOOD + BAD, [True] * 10 + [False] * 10


def test_the_threshold_refuses_most_within_its_promise():
    strict, mild = best_threshold(CONFIDENCES, ANSWERABLE, 0.0), best_threshold(CONFIDENCES, ANSWERABLE, 0.1)
    assert 0.25 < strict < 0.3 and 0.45 < mild < 0.5
    point = at_threshold(CONFIDENCES, ANSWERABLE, mild)
    assert (point.refused_rightly, point.refused_wrongly) == (0.8, 0.1)
    assert (point.coverage, round(point.risk, 3)) == (11 / 20, round(2 / 11, 3))


def test_the_curve_goes_from_everything_to_the_surest_question():
    curve = risk_coverage(CONFIDENCES, ANSWERABLE)
    assert (curve[0].coverage, curve[0].risk) == (1.0, 0.5)
    assert (curve[-1].coverage, curve[-1].risk) == (1 / 20, 0.0)
    assert [p.coverage for p in curve] == sorted((p.coverage for p in curve), reverse=True)


def test_a_fit_tells_what_is_held_out():
    fit = fit_refusal(CONFIDENCES, ANSWERABLE, 0.1, "sha", "index")
    assert fit.auroc == pytest.approx(0.91)  # 9 of 100 pairs are the wrong way round
    assert fit.fitted.refused_wrongly <= 0.1 < fit.held_out.refused_wrongly + 0.2


@pytest.mark.parametrize(
    ("rows", "wrongly", "message"), [(6, 0.1, "at least 10 of each"), (20, 1.5, "expected a share from 0"), (20, -0.1, "share")]
)
def test_too_few_questions_or_a_wrong_share_is_told(rows, wrongly, message):
    with pytest.raises(UserError, match=message):
        fit_refusal(CONFIDENCES[:rows], ANSWERABLE[:rows], wrongly, "", "")


def test_ask_follows_the_fitted_threshold(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    parts = [f"## Part {n}\n\nThe {word} lamp turns amber after {n} minutes." for n, word in enumerate(WORDS, 1)]
    (tmp_path / "manual.md").write_text("# Lamp L1\n\n" + "\n\n".join(parts))
    rows = [{"id": f"g{n}", "question": f"when does the {w} lamp turn amber", "answerable": True, "facts": [w]} for n, w in ALL]
    rows += [{"id": f"b{n}", "question": f"price of {w} flights to Rome", "answerable": False} for n, w in ALL]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = ["--workspace", str(tmp_path / "w")]
    assert main([*run, "index", str(tmp_path / "manual.md")]) == 0
    assert main([*run, "eval", "refusal", "--questions", str(tmp_path / "q.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert "held out (five folds)" in shown and "100.0% of the unanswerable refused" in shown
    kept = json.loads((tmp_path / "w" / "refusal.json").read_text())
    assert (kept["answerable"], kept["unanswerable"]) == (10, 10)

    def refused(question: str) -> bool:
        assert main([*run, "--json", "ask", question]) == 0
        return bool(json.loads(capsys.readouterr().out)["abstained"])

    assert refused("price of flights to Rome") and not refused("when does the rear lamp turn amber")
    (tmp_path / "w" / "refusal.json").write_text(json.dumps(kept | {"refuse_below": 0.9999}))
    assert refused("when does the rear lamp turn amber")
    (tmp_path / "w" / "refusal.json").write_text("{")
    assert main([*run, "ask", "anything"]) == 2
    assert "emendo eval refusal" in capsys.readouterr().err


WORDS = ["front", "rear", "left", "right", "upper", "lower", "inner", "outer", "main", "spare"]
ALL = list(enumerate(WORDS))
