"""Tasks beyond chat: their files, what a model may answer, their scores, and the same gate."""

from __future__ import annotations

import dataclasses
import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT

from emendo.choices import ChoicePaths, Choices, word_groups
from emendo.records import AdapterCard, Answer, UserError
from eval.facts import missing_facts
from eval.gate import Policy
from eval.leaks import TrainingText, find_leaks
from eval.task_metrics import label_table, micro_f1, scoring_for
from eval.task_run import TaskAnswerer, TaskContext, as_question, evaluate_task
from rag.answer import Ask
from rag.embedder import load_embedder
from sft.tasks import Task, build_messages, build_task_examples, candidates, load_rows, load_task, parse_output, task_choices

SHIPPED = sorted((ROOT / "data" / "tasks").glob("*.toml"))


def make_task(tmp_path: Path, kind: str = "label", rows: list[dict] | None = None, **settings: object) -> Task:
    if kind == "label":
        settings.setdefault("labels", "good, bad")
        rows = rows or [{"id": f"r{n}", "input": f"text {n}", "output": "good" if n % 2 else "bad"} for n in range(40)]
    lines = [f"kind = {kind!r}", "prompt = 'Judge the text.'", "train = 'rows.jsonl'", "test = 'rows.jsonl'"]
    lines += [f"{key} = {value!r}" for key, value in settings.items()]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or []))
    return load_task(tmp_path / "mine.toml")


# -- task files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = 'label'", "`prompt` is missing"),
        ("kind = 'label'\nprompt = 'p'\ntrain = 'a'\ntest = 'b'", "at least two `labels`"),
        ("kind = 'lable'\nprompt = 'p'\ntrain = 'a'\ntest = 'b'", "expected one of label, list, spans, text"),
        ("kind = 'text'\nprompt = 'p'\ntrain = 'a'\ntest = 'b'\npassage = 2", "did you mean .*passages"),
        ("kind = 'list'\nprompt = 'p'\ntrain = 'a'\ntest = 'b'\nk = 0", "k must be at least 1"),
        ("kind = ", "not valid TOML"),
    ],
)
def test_bad_task_file_is_named_with_its_cure(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_task(tmp_path / "t.toml")


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("label", {"id": "a", "input": "x", "output": "awful"}, "unknown label 'awful'; known: good, bad"),
        ("label", {"id": "a", "input": "x"}, "no gold"),
        ("label", {"id": "a", "input": " ", "output": "good"}, "`input` is missing or empty"),
        ("list", {"id": "a", "input": "x", "output": []}, "at least one item"),
        ("list", {"id": "a", "input": "x", "candidates": ["p"], "output": ["q"]}, "'q' is not among the candidates"),
        ("spans", {"id": "a", "input": "x", "output": ["y"]}, "'y' does not stand in the input"),
    ],
)
def test_bad_row_is_named_with_file_and_line(tmp_path: Path, kind: str, row: dict, message: str) -> None:
    task = make_task(tmp_path, kind, [row])
    with pytest.raises(UserError, match=f"rows.jsonl:1: .*{message}"):
        load_rows(task, task.train)


def test_id_given_twice_is_refused(tmp_path: Path) -> None:
    row = {"id": "a", "input": "x", "output": "good"}
    task = make_task(tmp_path, rows=[row, row])
    with pytest.raises(UserError, match="id 'a' is given twice"):
        load_rows(task, task.train)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.stem)
def test_shipped_tasks_are_large_enough_varied_and_answerable(file: Path) -> None:
    task = load_task(file)
    training, test = load_rows(task, task.train), load_rows(task, task.test)
    assert len(training) >= 60
    assert len(test) >= 60
    leaks = find_leaks([as_question(task, row) for row in test], [TrainingText(row.input, "") for row in training])
    assert leaks.clean, leaks.summary
    pages = {page.stem: page.read_text() for page in Path(task.documents).glob("*.md")} if task.documents else {}
    for row in [*training, *test]:
        if task.kind == "text":
            assert not missing_facts(row.output, row.items), row.id
            assert not missing_facts(row.input, row.items), row.id
        else:
            passages = (pages[row.cluster],) if pages else ()
            assert set(row.items) <= set(task_choices(task, row.input, passages).items), row.id


def test_all_four_kinds_are_shipped() -> None:
    assert {load_task(file).kind for file in SHIPPED} == {"label", "list", "spans", "text"}


# -- what a model may answer -----------------------------------------------------------------------------------------------


def walk(paths: ChoicePaths, tokenizer, seed: int) -> str:
    """An answer of a model that chooses at random among the tokens it may print."""
    dice, ids = random.Random(seed), []
    while (token := dice.choice(paths.allowed(ids))) != 1:
        ids.append(token)
    return tokenizer.decode(ids)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def test_every_constrained_answer_is_a_choice(tokenizer) -> None:
    choices = Choices(("red", "red wine", "rose", "blue"), least=2, most=3)
    paths = ChoicePaths(tokenizer, choices, [1])
    said = [walk(paths, tokenizer, seed).split("\n") for seed in range(60)]
    assert all(2 <= len(items) <= 3 and len(set(items)) == len(items) and set(items) <= set(choices.items) for items in said)
    assert {item for items in said for item in items} == set(choices.items)


def test_spans_keep_the_order_of_the_text_and_never_overlap(tokenizer) -> None:
    text = "chest pain and chest pain relief"
    groups = word_groups(text, longest=2)
    choices = Choices(tuple(g[0] for g in groups), most=9, places=tuple((g[1], g[2]) for g in groups))
    paths = ChoicePaths(tokenizer, choices, [1])
    for seed in range(60):
        places = [choices.places[choices.items.index(item)] for item in walk(paths, tokenizer, seed).split("\n")]
        assert all(before[1] <= after[0] for before, after in pairwise(places))


def test_word_groups_stop_at_punctuation() -> None:
    found = [item for item, _, _ in word_groups("Aspirin 300 mg, to cath-lab.", longest=3)]
    assert "Aspirin 300 mg" in found
    assert "cath-lab" in found
    assert not any("," in item or "mg to" in item for item in found)


def test_an_untrained_model_answers_with_labels_only(tmp_path: Path, tiny_model: Path) -> None:
    from emendo.hf_model import HFChatModel

    task = make_task(tmp_path, examples=2)
    rows = load_rows(task, task.train)
    model = HFChatModel.load(str(tiny_model), bits="fp32", max_new_tokens=20, refusal="No.")
    answerer = TaskAnswerer(task, model, TaskContext(task, rows, load_embedder("hash"), None))
    answers = answerer.answer_many([Ask(row.input) for row in rows[:6]])
    assert {answer.text for answer in answers} <= {"good", "bad"}


def test_context_shows_the_nearest_rows_but_never_the_input_itself(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "input": "sour cherry beer", "output": "good"},
        {"id": "b", "input": "sour cherry cake", "output": "bad"},
        {"id": "c", "input": "the printer is out of paper", "output": "bad"},
    ]
    task = make_task(tmp_path, rows=rows, examples=1)
    training = load_rows(task, task.train)
    context = TaskContext(task, training, load_embedder("hash"), None)
    assert context("sour cherry beer") == ("sour cherry cake\nAnswer: bad",)
    data = build_task_examples(task, training, context)
    assert all(
        example.messages[-2]["content"].count(example.messages[-2]["content"].rpartition("Question: ")[2]) == 1
        for example in (*data.train, *data.validation)
    )
    assert build_messages(task, "x", ("p",))[-1]["content"] == "[1] p\n\nQuestion: x"


def test_candidates_are_read_back_from_the_input(tmp_path: Path) -> None:
    row = {"id": "a", "input": "Bought a tent.", "candidates": ["pegs", "a 2 man sheet"], "output": ["pegs"]}
    task = make_task(tmp_path, "list", [row], k=1)
    [made] = load_rows(task, task.train)
    assert candidates(made.input) == ["pegs", "a 2 man sheet"]
    assert task_choices(task, made.input).items == ("pegs", "a 2 man sheet")


def test_answers_of_models_that_write_freely_are_understood(tmp_path: Path) -> None:
    assert parse_output(make_task(tmp_path), " Good.") == ("good",)
    assert parse_output(make_task(tmp_path), "I think so") == ("i think so",)
    task = make_task(tmp_path, "list", [{"id": "a", "input": "x", "output": ["y"]}])
    assert parse_output(task, "1. Oat milk\n- Nut  milk bag\n\n* oat milk") == ("oat milk", "nut milk bag")


# -- scores ------------------------------------------------------------------------------------------------------------------


def test_label_table_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

    dice = random.Random(3)
    labels = ["a", "b", "c", "never"]
    gold = [dice.choice("abc") for _ in range(80)]
    given = [g if dice.random() < 0.6 else dice.choice("abc") for g in gold]
    table = label_table(gold, given, labels)
    expected = precision_recall_fscore_support(gold, given, labels=labels, zero_division=0)
    for n, row in enumerate(table.classes):
        assert (row.precision, row.recall, row.f1, row.support) == pytest.approx([column[n] for column in expected])
    assert table.macro_f1 == pytest.approx(f1_score(gold, given, labels=labels, average="macro", zero_division=0))
    matrix = confusion_matrix(gold, given, labels=labels)
    assert all(table.confusion.get((labels[i], labels[j]), 0) == matrix[i][j] for i in range(4) for j in range(4))


def answered(text: str) -> Answer:
    return Answer("", "q", "q", text, (), (), False, 1.0, "m", "", "", "", {"generate": 0.1})


def test_entity_scores_need_wording_and_type(tmp_path: Path) -> None:
    row = {"id": "a", "input": "fever and bail", "output": [["fever", "medical"], ["bail", "legal"]]}
    task = make_task(tmp_path, "spans", [row], labels="medical, legal")
    question = as_question(task, load_rows(task, task.train)[0])
    scores = {s.metric: s.value for s in scoring_for(task).score(question, answered("fever = medical\nbail = medical"))}
    assert (scores["span_f1"], scores["term_f1"], scores["span_recall"]) == (0.5, 1.0, 0.5)
    assert micro_f1(task, [question], {"a": answered("fever = medical")}) == pytest.approx(2 / 3)


def test_list_is_scored_on_its_first_k_items(tmp_path: Path) -> None:
    task = make_task(tmp_path, "list", [{"id": "a", "input": "x", "output": ["p", "q", "r"]}], k=2)
    question = as_question(task, load_rows(task, task.train)[0])
    scores = {s.metric: s.value for s in scoring_for(task).score(question, answered("p\nz\nq\nr"))}
    assert (scores["list_precision"], scores["list_successes"]) == (0.5, 1.0)
    assert scores["list_recall"] == pytest.approx(1 / 3)
    empty = {s.metric: s.value for s in scoring_for(task).score(question, answered(""))}
    assert empty["list_f1"] == 0.0


def test_a_model_that_chooses_sentences_learns_sentences_with_all_facts(tmp_path: Path) -> None:
    note = "Chef, 33, burnt his right hand. Sings in a choir. Silver dressing. Back in two days."
    row = {
        "id": "r",
        "input": note,
        "output": "Burn of the right hand, silver dressing.",
        "facts": ["right hand", "silver|iodine"],
    }
    task = make_task(tmp_path, "text", [row])
    [made] = load_rows(task, task.train)
    learned = build_task_examples(task, [made], lambda text: ()).train[0].messages[-1]["content"]
    assert learned == "Chef, 33, burnt his right hand.\nSilver dressing."
    assert set(learned.splitlines()) <= set(task_choices(task, note).items)
    freely = build_task_examples(dataclasses.replace(task, free=True), [made], lambda text: ()).train[0]
    assert freely.messages[-1]["content"] == row["output"]


# -- the gate ----------------------------------------------------------------------------------------------------------------


class Scripted:
    """Answers as `say` has it."""

    def __init__(self, task: Task, say, adapter_id: str = ""):
        self.settings, self.say, self.adapter_id, self.model_id = task, say, adapter_id, "scripted"

    def answer_many(self, asks):
        return [answered(self.say(ask.question)) for ask in asks]


CARD = AdapterCard("a1", "base", "", "", "", {}, (), (), (), {}, {}, 1.0, "2026-01-01T00:00:00+00:00")


def judged(task: Task, tmp_path: Path, base, tuned):
    rows = load_rows(task, task.test)
    makers = (lambda: Scripted(task, base)), (lambda: Scripted(task, tuned, "a1"))
    return evaluate_task(task, rows, [], *makers, tmp_path / "out", CARD, Policy())


def test_better_labels_are_promoted_with_their_tables(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    gold = {row.input: row.output for row in load_rows(task, task.test)}
    report = judged(task, tmp_path, lambda text: "good", gold.__getitem__)
    assert (report.verdict, report.exit_code) == ("PROMOTE", 0)
    assert report.primary is not None and report.primary.test == "mid-p McNemar"
    titles = [table.title for table in report.tables]
    assert any("accuracy 0.500" in title for title in titles) and any("right label (row)" in title for title in titles)
    assert "right label (row)" in report.html.read_text()


def test_worse_on_one_category_is_rejected(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "input": f"text {n}", "output": "good", "category": ("short", "long")[n % 3 == 0]} for n in range(90)]
    task = make_task(tmp_path, rows=rows)
    long = {row["input"] for row in rows if row["category"] == "long"}
    report = judged(task, tmp_path, lambda t: "good" if t in long else "bad", lambda t: "bad" if t in long else "good")
    assert report.verdict == "REJECT"
    assert "long dropped" in report.reason


def test_lists_are_also_tested_as_trials(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "input": f"text {n}", "candidates": ["a", "b", "c", "d"], "output": ["a", "b"]} for n in range(30)]
    task = make_task(tmp_path, "list", rows, k=2)
    report = judged(task, tmp_path, lambda t: "a\nd" if "1" in t else "c\nd", lambda t: "a\nb" if "2" in t else "a\nc")
    [trials] = [table for table in report.tables if "trial" in table.title]
    assert [row[0] for row in trials.rows][:2] == ["z", "t"]
    assert "NaN" not in report.json.read_text()


def test_constant_scores_and_empty_answers_give_a_clear_verdict(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "input": f"text {n} fever", "output": ["fever"]} for n in range(12)]
    task = make_task(tmp_path, "spans", rows)
    report = judged(task, tmp_path, lambda t: "", lambda t: "")
    assert report.verdict in ("REJECT", "INCONCLUSIVE")
    assert "NaN" not in report.json.read_text()


def test_a_task_is_tuned_judged_and_used_from_the_command_line(tmp_path: Path, tiny_model: Path, capsys, monkeypatch) -> None:
    from emendo.cli import main

    monkeypatch.setenv("EMENDO_EMBEDDER", "hash")
    words = ["oak", "elm", "ash", "fir", "yew", "fig", "bay", "box", "may", "ivy", "nut", "pea"]
    rows = [{"id": w, "input": w * 3, "output": "good" if n % 2 else "bad"} for n, w in enumerate(words)]
    task = make_task(tmp_path, rows=rows, examples=1)
    (tmp_path / "test.jsonl").write_text(
        "".join(json.dumps({**row, "input": f"{n} of {n * 7919}"}) + "\n" for n, row in enumerate(rows))
    )
    file = tmp_path / "mine.toml"
    file.write_text(file.read_text().replace("test = 'rows.jsonl'", "test = 'test.jsonl'"))
    assert task.name == "mine"
    common = ["--workspace", str(tmp_path / "ws")]
    model = ["--model", f"hf:{tiny_model}", "--bits", "fp32"]
    assert main([*common, "tune", "--task", str(file), *model, "--set", "tune.epochs=1"]) == 0
    assert f"emendo eval task {file}" in capsys.readouterr().out
    assert main([*common, "eval", "task", str(file), *model]) in (0, 1, 2)
    assert "label_accuracy" in capsys.readouterr().out
    assert main([*common, "task", str(file), "oak", "--adapter", "latest", *model]) == 0
    assert capsys.readouterr().out.strip() in ("good", "bad")
    assert not list((tmp_path / "ws" / "adapters").glob("*/card.json")), "a task's adapter must never serve in the chat"
