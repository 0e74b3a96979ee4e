"""Scores of answers: facts, overlap, refusals, grounding, citations, ranking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scripted_arms import ScriptedArm, half_right, make_questions, refuse, right, wrong

from emendo.records import Answer, Chunk, Hit, Question
from eval.facts import missing_facts, states
from eval.grounding import check_grounding
from eval.health import find_regurgitation
from eval.metrics import METRICS, score_answer
from eval.overlap import common_subsequence, rouge_l, token_overlap
from eval.questions import load_questions
from eval.ranking import ndcg, reciprocal_rank, relevance
from rag.answer import Ask
from rag.citations import resolve_citations


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        ("heat it to 92 degrees Celsius", "92 °C"),
        ("at 55 ºC", "55°C"),
        ("wait five seconds", "5 s"),
        ("a 5-second press", "5 seconds"),
        ("1500 metres", "1,500 m"),
        ("a 12V supply", "12 V"),
        ("between 3 and 5: 3 to 5 bar", "3–5 bar"),
        ("2.0 bar", "2 bar"),
        ("1,5 l", "1.5 litres"),
        ("it turns amber", "green|amber"),
        ("two magnets", "magnet"),
        ("hold the **MODE** key", "mode key"),
        ("версия ГОСТ 31", "гост 31"),
        ("The code is 31.", "31"),
        ("It holds 2 l [1] of water.", "2 l of water"),
    ],
)
def test_the_same_fact_in_another_spelling(answer: str, fact: str) -> None:
    assert states(answer, fact)


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        ("310 bar", "31"),
        ("3.31 V", "31"),
        ("31.5", "31"),
        ("see [1]", "1"),
        ("-5 °C", "5 °C"),
        ("1.500 m", "1,500 m"),
        ("E010", "E01"),
        ("version 4.1.0", "4.1"),
        ("5 minutes", "5 seconds"),
        ("it turns red", "green|amber"),
        ("The position is 0 [1] a lamp is lit. [1]", "0 A"),
    ],
)
def test_another_fact_is_not_found(answer: str, fact: str) -> None:
    assert not states(answer, fact)


def test_gold_answers_of_real_manuals_state_their_own_facts(shared_data: Path) -> None:
    files = sorted((shared_data / "pdf_manuals").glob("*/qa.jsonl"))
    questions = [question for file in files for question in load_questions(file)]
    missed = [question.id for question in questions if missing_facts(question.answer, question.facts)]
    assert len(questions) >= 100
    assert missed == ["enroute_html-02"]  # its fact is a stem: "swip"


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("The Eiffel Tower!", "eiffel tower", (1, 1, 1)),
        ("a b c", "b c d e", (1, 0.5, 2 / 3)),  # "a" is an article
        ("cat cat cat", "cat", (1 / 3, 1, 0.5)),  # a bag counts "cat" once, a set would say 1
        ("", "", (1, 1, 1)),
        ("something", "", (0, 0, 0)),
        ("", "something", (0, 0, 0)),
        ("dog", "cat", (0, 0, 0)),
    ],
)
def test_token_overlap_by_squad_rules(answer: str, reference: str, expected: tuple[float, float, float]) -> None:
    found = token_overlap(answer, reference)
    assert (found.precision, found.recall, found.f1) == pytest.approx(expected)


def test_rouge_l_of_any_script() -> None:
    assert rouge_l("Нажмите кнопку", "нажмите кнопку!").f1 == 1.0
    assert rouge_l("police killed the gunman", "police kill the gunman").f1 == 0.75  # Lin 2004, section 3.1
    assert rouge_l("the gunman kill police", "police kill the gunman").f1 == 0.5


def test_common_subsequence_equals_the_plain_table() -> None:
    first, second = list("abcbdabxyzzyab" * 3), list("bdcabazyxba" * 4)
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    assert common_subsequence(first, second) == table[-1][-1]


def _scores(question: Question, say: object, rag: bool = True) -> dict[str, float | None]:
    arm = ScriptedArm([question], say, rag=rag)  # type: ignore[arg-type]
    return {score.metric: score.value for score in score_answer(question, arm.answer_many([Ask(question.question)])[0])}


def test_every_metric_scores_or_says_why() -> None:
    answerable, unanswerable = make_questions(2, unanswerable=1)
    for question in (answerable, unanswerable):
        for say in (right, wrong, refuse):
            arm = ScriptedArm([question], say)
            scores = score_answer(question, arm.answer_many([Ask(question.question)])[0])
            assert [score.metric for score in scores] == [metric.name for metric in METRICS]
            assert all((score.value is None) == bool(score.reason) for score in scores)


def test_answers_to_an_answerable_question() -> None:
    question = make_questions(1)[0]
    good, half, bad, none = (_scores(question, say) for say in (right, half_right, wrong, refuse))
    assert [s["fact_recall"] for s in (good, half, bad, none)] == [1.0, 0.5, 0.0, 0.0]
    assert [s["accuracy"] for s in (good, half, bad)] == [1.0, 0.0, 0.0]
    assert (good["token_f1"], none["token_f1"]) == (1.0, 0.0)
    assert (good["over_refusal"], none["over_refusal"], none["abstention_recall"]) == (0.0, 1.0, None)
    assert (good["supported_sentences"], bad["supported_sentences"], none["supported_sentences"]) == (1.0, 0.0, None)
    assert (good["stray_numbers"], bad["stray_numbers"]) == (0.0, 1.0)
    assert (good["citation_recall"], good["citation_precision"], good["cited_page"]) == (1.0, 1.0, 1.0)
    assert (good["hit@1"], good["mrr@10"], good["ndcg@10"], good["page_hit@5"]) == (1.0, 1.0, 1.0, 1.0)
    assert good["latency"] == pytest.approx(0.21)


def test_answers_to_an_unanswerable_question() -> None:
    question = make_questions(1, unanswerable=1)[0]
    assert (_scores(question, refuse)["fact_recall"], _scores(question, wrong)["fact_recall"]) == (1.0, 0.0)
    assert (_scores(question, refuse)["abstention_recall"], _scores(question, refuse)["over_refusal"]) == (1.0, None)
    assert (_scores(question, refuse)["token_f1"], _scores(question, wrong)["token_f1"]) == (1.0, 0.0)
    assert _scores(question, refuse)["hit@1"] is None


def test_all_facts_and_a_made_up_number_is_not_accurate() -> None:
    question = make_questions(1)[0]
    found = _scores(question, lambda q: f"{q.answer} Repeat 7 times. [1]")
    assert (found["fact_recall"], found["accuracy"], found["stray_numbers"]) == (1.0, 0.0, 1.0)


def test_without_passages_grounding_is_unscored_not_wrong() -> None:
    found = _scores(make_questions(1)[0], right, rag=False)
    assert found["fact_recall"] == 1.0
    assert (found["supported_sentences"], found["citation_recall"], found["hit@1"]) == (None, None, None)


def test_question_without_facts_is_unscored_by_fact_recall() -> None:
    found = _scores(replace(make_questions(1)[0], facts=()), right)
    assert (found["fact_recall"], found["accuracy"], found["token_recall"]) == (None, None, 1.0)


def _answer(text: str, passages: list[str]) -> Answer:
    hits = tuple(Hit(Chunk(f"c{n}", "d", "D", "D", (), p, "", (n,)), 1.0, n) for n, p in enumerate(passages, 1))
    return Answer("a", "q", "q", text, resolve_citations(text, hits), hits, False, 1.0, "m", "", "p", "i")


def test_citations_by_alce() -> None:
    passages = [
        "The boiler holds 2 litres of water.",
        "The pump delivers 15 bar of pressure.",
        "Wipe the case with a damp cloth.",
    ]
    found = check_grounding(
        _answer(
            "The boiler holds 2 litres of water. [1][3] "
            "The pump delivers 15 bar of pressure. [3] Wipe the case with a damp cloth.",
            passages,
        )
    )
    assert found.statements == 3
    assert found.uncited == ("The pump delivers 15 bar of pressure.", "Wipe the case with a damp cloth.")
    assert found.citations == 3
    assert [text[:3] for text in found.idle] == ["[3]", "[3]"]  # needless beside [1]; and wrong for the pump
    assert found.unsupported == ()  # all three stand in some retrieved passage


def test_training_text_that_no_passage_holds_is_regurgitation() -> None:
    learned = ["Press and hold the round key until the ring turns amber and blinks twice. [1]", "The manual does not say."]
    copied = "First of all press and hold the round key until the ring turns amber. [1]"
    answers = {
        "copied": _answer(copied, ["The boiler holds 2 litres."]),
        "quoted": _answer(copied, ["NOTE: Press and hold the round key until the ring turns amber, and wait."]),
        "own": _answer("Hold the key until the ring is amber. [1]", ["Nothing."]),
        "refused": replace(_answer("The manual does not say.", []), abstained=True),
    }
    found = find_regurgitation(answers, learned)
    assert (found.answers, found.repeated) == (3, ("copied",))


def test_ranking_against_hand_worked_values() -> None:
    assert reciprocal_rank([False, False, True, True]) == pytest.approx(1 / 3)
    assert ndcg([False, True]) == pytest.approx(0.6309, abs=1e-4)  # 1 / log2(3)
    assert ndcg([True, True]) == 1.0
    assert (ndcg([False]), reciprocal_rank([])) == (0.0, 0.0)


def test_a_hit_is_judged_by_the_quote_not_by_the_chunk_id() -> None:
    question = replace(make_questions(1)[0], quote="Descale the boiler every 3 months or after 220 cups of coffee.")
    texts = ["Descale the boiler every week.", "NOTE Descale the boiler every 3 months, or after 220 cups of coffee. Rinse it."]
    hits = [Hit(Chunk(f"x{i}", "d", "D", "D", (), text, "H"), 1.0, i + 1) for i, text in enumerate(texts)]
    assert relevance(question, hits) == [False, True]
