"""Thumbs: rated answers become examples or preferences, with the prompt that was served and the answer that was read."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from test_sft_train import variants
from test_sft_trainer import SHORT, silent

from emendo.base_model import load_base, stop_token_ids
from emendo.cli import main
from emendo.config import load_settings
from emendo.hf_model import HFChatModel
from emendo.records import Answer, UserError
from emendo.scripted_model import ScriptedChatModel
from emendo.store import Store, now
from rag.answer import Answerer, AnswerSettings
from rag.citations import resolve_citations
from rag.embedder import load_embedder
from rag.index import open_index
from rag.ingest import ingest
from rag.prompt import PROMPT_VERSION, REFUSAL
from rag.retrieve import Retriever
from sft.examples import ExampleSettings, build_examples
from sft.ratings import learnable, learned_from, rated_answers
from sft.thumbs import ThumbsSettings, encode_rated, learn_thumbs
from sft.train import tune

EXAMPLES = ExampleSettings(orders=1, validation_share=0, refusal_share=0)
ONCE = dataclasses.replace(SHORT, epochs=1)
GOOD, BAD = "Descale the kettle every 3 months. [1]", "Use an earthed socket. [2]"


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "emendo.db")
    yield found
    found.close()


def said(hits, text: str, question: str, n: int) -> Answer:
    return Answer(
        answer_id=f"a{n}",
        question=question,
        standalone=question,
        text=text,
        citations=resolve_citations(text, hits, question),
        hits=hits,
        abstained=text == REFUSAL,
        confidence=0.9,
        model_id="hf:bundled",
        adapter_id="",
        prompt_version=PROMPT_VERSION,
        index_id="i",
        timings={"generate": 0.5},
    )


def rate(store: Store, answer: Answer, thumb: int, conversation: str = "") -> Answer:
    store.save_answer(answer, conversation)
    store.rate(answer.answer_id, "ana", thumb)
    return answer


def test_the_prompt_of_a_rated_answer_is_the_one_that_was_served(store, tmp_path):
    """With the turns before it, of which serving shows one here; the model's own view of it is compared."""
    manual = tmp_path / "kettle.md"
    manual.write_text("# Kettle\n\n## Descaling\n\nDescale every 3 months.\n\n## Power\n\nThe base draws 2,200 W.\n", "utf-8")
    embedder = load_embedder("hash")
    ingest(tmp_path / "index", manual, embedder)
    seen = []

    class Listening(ScriptedChatModel):
        def _generate(self, messages, *given, **more):
            seen.append([(message.type, message.content) for message in messages])
            return super()._generate(messages, *given, **more)

    settings = AnswerSettings(history_turns=1)
    bot = Answerer(Retriever(open_index(tmp_path / "index", embedder), embedder), Listening(otherwise="Often. [1]"), settings)
    conversation, turns = store.create_conversation("kettle"), []
    for question in ("how often do I descale the kettle", "what does the base draw", "and how many watts is it"):
        turns.append(bot.answer(question, turns))
        store.save_answer(turns[-1], conversation)
    store.rate(turns[-1].answer_id, "ana", -1)
    other = dataclasses.replace(turns[-1], answer_id="other", beside=turns[-1].answer_id)  # the same prompt, another model
    rate(store, other, 1, conversation)
    [rated, also], dropped = rated_answers(store, history_turns=1)
    assert (also.prompt, also.liked) == (rated.prompt, True)
    roles = {"system": "system", "user": "human", "assistant": "ai"}
    assert [(roles[message["role"]], message["content"]) for message in rated.prompt] == seen[-1]
    assert len(rated.prompt) == 4, "system, one turn, the question"
    assert (rated.text, rated.liked, dropped) == ("Often. [1]", False, [])


def test_what_no_row_can_be_made_of_is_left_out_and_named(store, hits):
    for n, (thumb, changes) in enumerate(
        [
            (1, {}),
            (-1, {"stopped": True}),
            (-1, {"timings": {}, "text": "Which kettle?"}),
            (-1, {"timings": {}, "text": REFUSAL, "abstained": True}),
            (1, {"timings": {}, "text": REFUSAL, "abstained": True}),
            (1, {"prompt_version": "0"}),
            (1, {"hits": ()}),
            (1, {"standalone": "how often do I descale the kettle, after a question that is not here"}),
        ]
    ):
        rate(store, dataclasses.replace(said(hits, GOOD, f"how often {n}", n), **changes), thumb)
    store.rate("a0", "ben", -1)
    rate(store, said(hits, GOOD, "taken back", 9), 0)
    kept, dropped = rated_answers(store)
    assert [row.row.answer_id for row in kept] == ["a4"], "a refusal that was liked"
    assert [name for name, _ in dropped] == ["a0", "a1", "a2", "a3", "a5", "a6", "a7"]
    assert dropped[0][1] == "as many thumbs up as down"


def test_liked_answers_are_learned_when_asked_for_and_a_correction_wins(store, hits, correction):
    rate(store, said(hits, GOOD, "when is it time to descale", 1), 1)
    rate(store, said(hits, REFUSAL, "does it make toast", 2), 1)
    rate(store, said(hits, BAD, "how many watts", 3), -1)
    rate(store, said(hits, BAD, correction.question, 4), 1)  # the same question as the correction's, liked by somebody
    rate(store, said(hits, BAD, "is it dear", 5), 1)
    mended = dataclasses.replace(correction, correction_id="k2", answer_id="a5", question="is it dear to run")
    store.add_corrections([correction, mended])
    assert [row.correction_id for row in learnable(store, thumbs_up=False)] == ["k1", "k2"]
    rows = learnable(store, thumbs_up=True)
    data = build_examples(rows, EXAMPLES)
    learned = {e.messages[-2]["content"].rpartition("Question: ")[2]: e.messages[-1]["content"] for e in data.train}
    assert learned == {
        "when is it time to descale": GOOD,
        "does it make toast": REFUSAL,
        correction.question: correction.corrected,
        "is it dear to run": mended.corrected,
    }
    assert {row.answer_id for row in learned_from(store)} >= {"a1", "a3", "a5"}, "leak checks know them all"


def test_likes_become_likelier_and_dislikes_less_likely(tiny_model, tmp_path, store, hits, correction):
    rows = variants(correction, 4)
    by_id = {row.correction_id: row for row in rows}
    parent = tune(str(tiny_model), build_examples(rows, EXAMPLES), by_id, tmp_path, ONCE, silent)
    for n in range(3):
        rate(store, said(hits, BAD if n else GOOD, f"question number {n}", n), -1 if n else 1)
    rated, _ = rated_answers(store)
    settings = ThumbsSettings(learning_rate=1e-2, epochs=6, batch_size=3, least=3)
    card = learn_thumbs(tmp_path / parent.adapter_id, rated, tmp_path, settings, silent)
    before, after = (likelihoods(tiny_model, tmp_path / name, rated) for name in (parent.adapter_id, card.adapter_id))
    for one, old, new in zip(rated, before, after, strict=True):
        assert new > old + 0.5 if one.liked else new < old - 0.5
    assert card.settings["parent"] == parent.adapter_id
    assert card.settings["thumbs"]["epochs"] == 6
    assert set(card.correction_ids) == {*parent.correction_ids, *(one.row.correction_id for one in rated)}
    assert set(card.clusters) > set(parent.clusters), "for the leak check"
    names = {path.name for path in (tmp_path / card.adapter_id).rglob("*")}
    assert not names & {"ref", "training_args.bin"}
    assert learn_thumbs(tmp_path / parent.adapter_id, rated, tmp_path, settings, silent) == card, "made once"
    HFChatModel.load(str(tiny_model), adapter=str(tmp_path / card.adapter_id), bits="nf4")


def likelihoods(base, adapter, rated) -> list[float]:
    """Log-likelihood of each rated answer, nats."""
    chat = HFChatModel.load(str(base), adapter=str(adapter), bits="nf4")
    found = []
    for one in rated:
        row = encode_rated(one, chat.tokenizer, stop_token_ids(chat.model, chat.tokenizer))
        ids = torch.tensor([row.input_ids])
        with torch.inference_mode():
            scores = chat.model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        of_tokens = scores.gather(1, ids[0, 1:, None]).squeeze(1)
        found.append(of_tokens[-row.labelled :].sum().item())
    return found


def test_a_row_is_the_served_prompt_and_the_answer_with_its_end_of_turn(tiny_model, store, hits):
    model, tokenizer = load_base(str(tiny_model), "fp32")
    rate(store, said(hits, BAD, "how often do i descale", 1), -1)
    [one], _ = rated_answers(store)
    row = encode_rated(one, tokenizer, stop_token_ids(model, tokenizer))
    cut = len(row.input_ids) - row.labelled
    assert tokenizer.decode(row.input_ids[:cut]).endswith("how often do i descale<|end|><|assistant|>")
    assert tokenizer.decode(row.input_ids[cut:]) == "Use an earthed socket. [2]<|end|>"


@pytest.mark.parametrize(
    ("thumbs", "message"),
    [
        ((), r"0 rated answers.*expected 4 or more; go on rating"),
        ((1, -1, 1), r"3 rated answers can be learned from \(2 up, 1 down\)"),
        ((1, 1, 1, 1), r"all 4 thumbs are up.*thumbs_up=true"),
        ((-1, -1, -1, -1), r"all 4 thumbs are down.*correct these answers"),
    ],
)
def test_too_few_thumbs_or_one_kind_alone_say_what_to_do(tmp_path, store, hits, thumbs, message):
    for n, thumb in enumerate(thumbs):
        rate(store, said(hits, GOOD, f"question {n}", n), thumb)
    with pytest.raises(UserError, match=message):
        learn_thumbs(tmp_path, rated_answers(store)[0], tmp_path, ThumbsSettings(least=4), silent)


def test_wrong_settings_and_a_missing_adapter_are_one_clear_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match="least = 1: expected 2 or more"):
        load_settings(ThumbsSettings, "thumbs", ["thumbs.least=1"])
    monkeypatch.setenv("EMENDO_WORKSPACE", str(tmp_path / "workspace"))
    assert main(["tune", "--thumbs"]) == 2
    assert "make one with `emendo tune`" in capsys.readouterr().err
    assert main(["tune", "check", "--thumbs"]) == 2, "never trains when asked to check"


def test_the_command_goes_on_from_the_newest_adapter(tiny_model, tmp_path, hits, correction, monkeypatch, capsys):
    workspace = tmp_path / "workspace"
    monkeypatch.setenv("EMENDO_WORKSPACE", str(workspace))
    assert main(["corrections"]) == 0  # makes the workspace
    rows = variants(correction, 1)
    by_id = {row.correction_id: row for row in rows}
    parent = tune(str(tiny_model), build_examples(rows, EXAMPLES), by_id, workspace / "adapters", ONCE, silent)
    store = Store(workspace / "emendo.db")
    for n in range(4):
        rate(store, said(hits, (GOOD, BAD)[n % 2], f"question {n}", n), (1, -1)[n % 2])
    store.close()
    capsys.readouterr()
    assert main(["tune", "--thumbs", "--json", "--set", "thumbs.least=4", "--set", "thumbs.batch_size=2"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["settings"]["parent"] == parent.adapter_id
    assert card["at"] <= now()
