"""From question to cited answer: refusal, streaming, batches, follow-ups, and what is kept for tracing and training."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emendo.chat_models import load_chat_model
from emendo.records import Answer
from emendo.scripted_model import ScriptedChatModel
from rag.answer import Answerer, AnswerSettings, Ask, stopped_answer
from rag.condense import ask_back, condense, needs_history
from rag.embedder import load_embedder
from rag.index import open_index
from rag.ingest import ingest
from rag.prompt import PROMPT_VERSION, REFUSAL
from rag.retrieve import Retriever

MANUAL = """# Kettle K1

## Descaling

Descale the kettle every 3 months. Use citric acid only.

## Lights

The light turns amber at 95 °C. It blinks red when the kettle has boiled dry.

## Power

The base draws 2,200 W. Use an earthed socket.
"""


@pytest.fixture(scope="module")
def retriever(tmp_path_factory) -> Retriever:
    folder = tmp_path_factory.mktemp("index")
    (folder / "kettle.md").write_text(MANUAL, encoding="utf-8")
    embedder = load_embedder("hash")
    ingest(folder / "index", folder / "kettle.md", embedder)
    return Retriever(open_index(folder / "index", embedder), embedder)


def test_the_answer_can_be_traced(retriever):
    question = "how often do I descale the kettle"
    model = ScriptedChatModel(script={question: "Descale the kettle every 3 months. [1] And buy a new one. [9]"})
    answer = Answerer(retriever, model).answer(question)
    assert answer.text == "Descale the kettle every 3 months. [1] And buy a new one."
    [citation] = answer.citations
    assert (citation.section[-1], citation.supported) == ("Descaling", True)
    assert answer.hits[0].chunk.chunk_id == citation.chunk_id
    assert (answer.prompt_version, answer.index_id) == (PROMPT_VERSION, retriever.index.index_id)
    assert not answer.abstained


def test_a_refusal_is_a_refusal_whatever_the_model_adds(retriever):
    answer = Answerer(retriever, ScriptedChatModel(otherwise="The manual does not say. Perhaps try the internet? [1]")).answer(
        "moon?"
    )
    assert answer.abstained
    assert answer.text == REFUSAL
    assert answer.citations == ()


def test_below_the_threshold_the_model_is_not_asked(retriever):
    model = ScriptedChatModel(otherwise="It is made of cheese. [1]")
    sure, unsure = AnswerSettings(refuse_below=0.0), AnswerSettings(refuse_below=1.0)
    assert not Answerer(retriever, model, sure).answer("what is the moon made of").abstained
    assert Answerer(retriever, model, unsure).answer("what is the moon made of").abstained


def test_streamed_pieces_add_up_to_the_answer(retriever):
    model = ScriptedChatModel(otherwise="The light turns amber at 95 °C. [1]")
    *pieces, answer = Answerer(retriever, model).stream("when is the light amber")
    assert "".join(pieces) == answer.text
    assert isinstance(answer, Answer)
    assert len(pieces) > 3


def test_a_stopped_answer_keeps_the_passages_it_was_begun_with(retriever):
    model = ScriptedChatModel(otherwise="The light turns amber at 95 °C. [1] And then")
    begun: list[Answer] = []
    streaming = Answerer(retriever, model).stream("when is the light amber", found=begun.append)
    next(streaming)
    streaming.close()
    assert (begun[0].text, begun[0].abstained, begun[0].stopped) == ("", False, True)
    answer = stopped_answer(begun[0], "The light turns amber at 95 °C. [1] And [7]")
    assert answer.text == "The light turns amber at 95 °C. [1] And"
    assert answer.citations[0].chunk_id == begun[0].hits[0].chunk.chunk_id
    assert answer.stopped


def test_an_unanswered_question_is_no_answer_in_the_history(retriever):
    *_, last = Answerer(retriever, ScriptedChatModel(otherwise="Amber. [1]")).stream("when is the light amber")
    unanswered = replace(last, text="", stopped=True)
    draft = Answerer(retriever, ScriptedChatModel())._draft(Ask("and red?", (unanswered,)))
    assert [message["role"] for message in draft.messages] == ["system", "user"]
    assert draft.standalone == "when is the light amber and red?"


def test_a_batch_keeps_the_order_and_mixes_refusals(retriever):
    model = ScriptedChatModel(script={"light?": "Amber. [1]", "power?": "2,200 W. [1]"})
    answers = Answerer(retriever, model).answer_many([Ask("light?"), Ask("cheese?"), Ask("power?")])
    assert [answer.question for answer in answers] == ["light?", "cheese?", "power?"]
    assert [answer.abstained for answer in answers] == [False, True, False]


def test_without_a_retriever_the_model_is_alone():
    answer = Answerer(None, ScriptedChatModel(otherwise="I guess 3 months. [1]")).answer("how often")
    assert (answer.hits, answer.citations, answer.text) == ((), (), "I guess 3 months.")


def test_a_follow_up_searches_with_the_question_before(retriever):
    first = Answerer(retriever, ScriptedChatModel(otherwise="Every 3 months. [1]")).answer("how often do I descale the kettle")
    assert needs_history("and with what?")
    assert not needs_history("how much power does the base of the kettle draw")
    for whole in ("How do I clean the filter?", "What does E04 mean?", "where is my serial number", "How do I change opacity?"):
        assert not needs_history(whole)
    for leaning in (
        "How do I clean it?",
        "how much water?",
        "And the filter?",
        "how often should I descale?",
        "what is the price?",
    ):
        assert needs_history(leaning)
    assert condense("and with what?", [first]) == "how often do I descale the kettle and with what?"
    second = replace(first, question="and with what?", standalone=condense("and with what?", [first]))
    third = replace(first, question="and why?", standalone=condense("and why?", [first, second]))
    chain = "how often do I descale the kettle and why? and then?"
    assert condense("and then?", [first, second, third]) == chain, "two questions before it, however long the talk"
    follow = Answerer(retriever, ScriptedChatModel()).answer("and with what?", [first])
    assert follow.hits[0].chunk.section[-1] == "Descaling"


GUESTS = """# Lumo router

## Guest network

The guest network gives visitors internet access and nothing else. Up to 20 guest devices can be connected at the same time.
Each of them is limited to 20 Mbit/s for downloads. The guest network uses 2.4 GHz and 5 GHz.

## USB drives

The router reads drives formatted with exFAT or ext4. Choose Eject and wait for the message before you unplug a drive.
"""


def test_a_follow_up_is_answered_by_its_own_words_and_refused_by_them(tmp_path):
    """What was said before must not be answered once more, and its product is kept."""
    (tmp_path / "manuals").mkdir()
    (tmp_path / "manuals" / "router.md").write_text(GUESTS, encoding="utf-8")
    (tmp_path / "manuals" / "kettle.md").write_text(MANUAL.replace("socket", "socket with a 10 A fuse"), encoding="utf-8")
    embedder = load_embedder()
    ingest(tmp_path / "index", tmp_path / "manuals", embedder)
    retriever = Retriever(open_index(tmp_path / "index", embedder), embedder)
    answerer = Answerer(retriever, load_chat_model("quote"), AnswerSettings(refuse_below=0.35))
    guests = answerer.answer("What does the guest network give to visitors?")
    assert "20 Mbit/s" in answerer.answer("And how fast is it for them?", [guests]).text
    drives = answerer.answer("Which USB drives can the router read?")
    assert "Eject" in answerer.answer("how do I unplug it safely", [drives]).text
    for follow_up in ("Can my neighbour's parrot use it?", "which fuse does it have?"):
        assert answerer.answer(follow_up, [guests]).abstained, follow_up
    assert "10 A fuse" in answerer.answer("and the power of the base, which socket does it need?", [guests]).text


def test_passages_that_do_not_fit_the_window_are_left_out(retriever):
    class Narrow(ScriptedChatModel):
        context_tokens: int = 240

        def count_prompt_tokens(self, messages) -> int:
            return len(" ".join(m["content"] for m in messages).split())

    wide = Answerer(retriever, ScriptedChatModel(), AnswerSettings(max_new_tokens=160)).answer("amber light")
    narrow = Answerer(retriever, Narrow(), AnswerSettings(max_new_tokens=160)).answer("amber light")
    assert len(wide.hits) > len(narrow.hits) >= 1
    assert narrow.hits == wide.hits[: len(narrow.hits)]


@pytest.fixture(scope="module")
def look_alikes(tmp_path_factory) -> Retriever:
    """Two kettles whose manuals differ in one figure."""
    folder = tmp_path_factory.mktemp("look-alikes")
    (folder / "manuals").mkdir()
    for name, minutes in (("K1", 3), ("K2", 5)):
        text = MANUAL.replace("K1", name).replace("every 3 months", f"every {minutes} months")
        (folder / "manuals" / f"{name}.md").write_text(text, encoding="utf-8")
    embedder = load_embedder("hash")
    ingest(folder / "index", folder / "manuals", embedder)
    return Retriever(open_index(folder / "index", embedder), embedder)


def test_look_alike_products_are_asked_back_and_the_reply_is_understood(look_alikes):
    answerer = Answerer(look_alikes, load_chat_model("quote"))
    first = answerer.answer("how often do I descale the kettle")
    assert first.text in (f"Which product is this about: Kettle {a} or Kettle {b}?" for a, b in (("K1", "K2"), ("K2", "K1")))
    assert first.citations == () and not first.abstained
    assert condense("I have the second of the two, the white K2", [first]).startswith(first.question)
    other = "what power does the base of the kettle draw"
    assert condense(other, [first]) == other, "a question of its own is no reply"
    assert "every 5 months" in answerer.answer("the Kettle K2", [first]).text
    assert "every 5 months" in answerer.answer("how often do I descale the kettle K2").text
    assert "every 3 months" in answerer.answer("how often do I descale the kettle", product="Kettle K1").text
    *_, streamed = answerer.stream("how often do I descale the kettle")
    assert streamed.text == first.text
    never = Answerer(look_alikes, load_chat_model("quote"), AnswerSettings(ask_back=False))
    assert "months. [1]" in never.answer("how often do I descale the kettle").text


def test_a_question_back_names_few_products_and_tells_of_the_others():
    assert ask_back(["Kettle K1 user manual", "Kettle K2"]) == "Which product is this about: Kettle K1 or Kettle K2?"
    many = ask_back([f"Galaxy A{n} User's Guide" for n in range(10, 28)])
    assert many == (
        "Which product is this about: Galaxy A10, Galaxy A11, Galaxy A12, Galaxy A13 "
        "or another of the 18 whose manuals say much the same?"
    )


def test_a_product_named_earlier_is_meant_until_another_is_named_or_the_subject_changes(look_alikes):
    answerer = Answerer(look_alikes, load_chat_model("quote"))
    named = answerer.answer("Is there an amber light on the kettle K2?")
    question = "how often do I descale the kettle"
    first = answerer.answer(question, [named])
    assert first.standalone == question and "every 5 months" in first.text
    assert "every 5 months" in answerer.answer(question, [named, first]).text, "not only in the next turn"
    assert "every 3 months" in answerer.answer("how often do I descale the K1", [named]).text
    assert "every 3 months" in answerer.answer(question, [named], product="Kettle K1").text
    both = answerer.answer("Do K1 and K2 have an amber light?", [named])
    assert "every 5 months" in answerer.answer(question, [named, both]).text, "naming two names none"


@pytest.mark.parametrize(
    "setting", [{"passages": 0}, {"history_turns": -1}, {"max_new_tokens": 0}, {"focus_units": -1}, {"refuse_below": 7.0}]
)
def test_a_setting_that_makes_no_sense_is_named(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} = .* expected"):
        AnswerSettings(**setting)
