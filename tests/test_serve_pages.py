"""The pages' handlers, called as Gradio calls them; state is read back from the database."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from small_bot import make_context

from emendo.scripted_model import ScriptedChatModel
from rag.answer import Answerer
from serve.pages.chat import ALL_PRODUCTS, ChatPage
from serve.pages.corrections import CorrectionsPage
from serve.pages.documents import DocumentsPage
from serve.session import ServeContext

QUESTION = "How long does the battery of the kettle last?"


@pytest.fixture
def context(tmp_path: Path) -> ServeContext:
    return make_context(tmp_path / "workspace")


def chat_page(context: ServeContext) -> ChatPage:
    with gr.Blocks(analytics_enabled=False):
        return ChatPage(context)


def ask(page: ChatPage, question: str, conversation_id: str = "") -> list[dict[Any, Any]]:
    return list(page.ask(question, conversation_id, ALL_PRODUCTS))


def only_conversation(context: ServeContext) -> str:
    (row,) = context.store.conversations()
    return row["conversation_id"]


def test_asking_streams_then_stores_the_answer_in_a_new_conversation(context: ServeContext) -> None:
    page = chat_page(context)
    first, *_, last = ask(page, f"  {QUESTION} ")
    assert first[page.asked] == QUESTION
    assert "Reading the manual" in first[page.chat][-1]["content"]
    conversation_id = only_conversation(context)
    (answer,) = context.store.turns(conversation_id)
    assert "40 hours" in answer.text
    assert last[page.conversation_id] == conversation_id
    assert "40 hours" in last[page.chat].value[-1]["content"][0]["text"]
    assert "kettle" in last[page.evidence.sources].lower()


def test_the_next_question_joins_the_conversation(context: ServeContext) -> None:
    page = chat_page(context)
    ask(page, QUESTION)
    conversation_id = only_conversation(context)
    ask(page, "How do I clean the lamp?", conversation_id)
    assert [turn.question for turn in context.store.turns(conversation_id)] == [QUESTION, "How do I clean the lamp?"]


def test_retry_replaces_the_last_answer(context: ServeContext) -> None:
    page = chat_page(context)
    ask(page, QUESTION)
    conversation_id = only_conversation(context)
    (old,) = context.store.turns(conversation_id)
    context.answerer = Answerer(context.answerer.retriever, ScriptedChatModel(otherwise="About 40 hours. [1]"))
    *_, last = page.retry(conversation_id, ALL_PRODUCTS)
    (new,) = context.store.turns(conversation_id)
    assert new.answer_id != old.answer_id
    assert new.text == "About 40 hours. [1]"
    assert len(last[page.chat].value) == 2


def begin(context: ServeContext, pages: int) -> tuple[ChatPage, dict[Any, Any], Any]:
    """A page, what it shows after so many updates of an answer under way, and the answer."""
    context.answerer = Answerer(context.answerer.retriever, ScriptedChatModel(otherwise="The battery of the kettle lasts 40 [1"))
    page = chat_page(context)
    answering = page.ask(QUESTION, "", ALL_PRODUCTS)
    shown = {key: value for _ in range(pages) for key, value in next(answering).items()}
    return page, shown, answering


def stop(page: ChatPage, shown: dict[Any, Any], written: str) -> dict[Any, Any]:
    return page.stop(shown[page.conversation_id], shown[page.asked], shown[page.answering], written)


def test_every_update_of_an_answer_under_way_offers_to_stop_it(context: ServeContext) -> None:
    """Of two updates that come at once Gradio's page keeps what the second says, and drops what it leaves out."""
    page, _, answering = begin(context, 0)
    *under_way, last = answering
    boxes = [update[page.question] for update in under_way]
    assert all(box.stop_btn and not box.submit_btn for box in boxes)
    assert ["value" in box.constructor_args for box in boxes] == [True, True, False], "what is typed meanwhile stays"
    assert last[page.question].submit_btn and not last[page.question].stop_btn


def test_an_answer_stopped_before_its_first_word_gives_the_question_back(context: ServeContext) -> None:
    page, shown, answering = begin(context, 2)
    answering.close()
    given_back = stop(page, shown, "")
    assert given_back[page.question].value == QUESTION
    assert given_back[page.chat].value == []
    assert context.store.conversations() == []


def test_what_was_written_of_a_stopped_answer_is_kept_and_marked(context: ServeContext) -> None:
    page, shown, answering = begin(context, 3)
    stopped = stop(page, shown, "The")
    answering.close()
    (answer,) = context.store.turns(only_conversation(context))
    assert answer.stopped
    assert answer.question == QUESTION
    assert answer.text == "The"
    assert "Stopped" in stopped[page.chat].value[-1]["content"][0]["text"]
    assert answer.hits, "its sources are there to be corrected with"


def test_a_stop_that_comes_after_the_answer_changes_nothing(context: ServeContext) -> None:
    page, shown, answering = begin(context, 2)
    list(answering)
    stop(page, shown, "The battery")
    (answer,) = context.store.turns(only_conversation(context))
    assert not answer.stopped


def test_a_question_whose_page_goes_away_is_kept_with_what_was_written(context: ServeContext) -> None:
    for pages, text in ((2, ""), (3, "The")):
        page, shown, answering = begin(context, pages)
        answering.close()
        (answer,) = context.store.turns(shown[page.conversation_id])
        assert (answer.question, answer.text, answer.stopped) == (QUESTION, text, True)
        opened = page.open(shown[page.conversation_id])[page.chat].value[-1]["content"][0]["text"]
        assert ("Stopped" if text else "Not answered yet") in opened
    conversation_id = shown[page.conversation_id]
    ask(page, "How do I clean the lamp?", conversation_id)
    assert [turn.stopped for turn in context.store.turns(conversation_id)] == [True, False]


def test_a_question_that_fails_leaves_nothing_and_is_given_back(context: ServeContext) -> None:
    page, shown, answering = begin(context, 2)
    context.queue.at_once = context.queue._most_waiting = 0  # the line is full
    with pytest.raises(gr.Error, match="waiting already"):
        next(answering)
    assert context.store.conversations() == []
    given_back = page.give_back(shown[page.conversation_id], shown[page.asked])
    assert given_back[page.question].value == QUESTION
    assert given_back[page.conversation_id] == ""


def test_undo_takes_the_last_question_back_into_the_box(context: ServeContext) -> None:
    page = chat_page(context)
    ask(page, "How do I clean the lamp?")
    conversation_id = only_conversation(context)
    ask(page, QUESTION, conversation_id)
    undone = page.undo(conversation_id)
    assert undone[page.question].value == QUESTION
    assert [turn.question for turn in context.store.turns(conversation_id)] == ["How do I clean the lamp?"]
    undone = page.undo(conversation_id)
    assert undone[page.question].value == "How do I clean the lamp?"
    assert context.store.conversations() == [], "without a question it would stand in the list under one that was taken back"


def test_an_adapter_that_is_gone_is_named(context: ServeContext) -> None:
    with pytest.raises(gr.Error, match="not there any more"):
        list(chat_page(context).ask(QUESTION, "", ALL_PRODUCTS, "../elsewhere"))


@pytest.mark.parametrize("question", ["", "  \n "])
def test_an_empty_question_asks_nothing(context: ServeContext, question: str) -> None:
    ask(chat_page(context), question)
    assert context.store.conversations() == []


def test_asking_before_the_first_document_says_what_to_do(tmp_path: Path) -> None:
    page = chat_page(make_context(tmp_path, manuals=False))
    with pytest.raises(gr.Error, match="No manual is indexed yet"):
        ask(page, QUESTION)


def test_the_chosen_product_limits_the_search(context: ServeContext) -> None:
    page = chat_page(context)
    lamp, kettle = (next(d.doc_id for d in context.documents() if name in d.source) for name in ("lamp", "kettle"))
    list(page.ask(QUESTION, "", lamp))
    (answer,) = context.store.turns(only_conversation(context))
    assert {hit.chunk.doc_id for hit in answer.hits} == {lamp}
    assert kettle != lamp


def test_a_conversation_is_renamed_found_and_deleted(context: ServeContext) -> None:
    page = chat_page(context)
    ask(page, QUESTION)
    conversation_id = only_conversation(context)
    page.conversations.rename_to(conversation_id, " Kettle ")
    assert page.conversations.find("KETT", conversation_id).choices == [("Kettle", conversation_id)]
    assert page.conversations.find("lamp", conversation_id).choices == []
    context.store.delete_conversation(conversation_id)
    assert page.open("")[page.chat].value == []


def test_the_page_of_a_passage_is_shown_inline(context: ServeContext) -> None:
    page = chat_page(context)
    ask(page, QUESTION)
    (answer,) = context.store.turns(only_conversation(context))
    shown = page.evidence.turn_page(answer.answer_id, SimpleNamespace(_data={"hit": 0, "page": 0}))  # type: ignore[arg-type]
    assert "page 1 of 2" in shown
    assert 'src="data:image/webp;base64,' in shown
    assert page.evidence.turn_page(answer.answer_id, SimpleNamespace(_data={"hit": -1})) == ""  # type: ignore[arg-type]


def test_a_correction_is_stored_for_review_and_then_approved(context: ServeContext) -> None:
    page = chat_page(context)
    ask(page, QUESTION)
    (answer,) = context.store.turns(only_conversation(context))
    opened = page.editor.open(answer.answer_id)
    assert opened[page.editor.text].value == answer.text
    (choice, *_) = opened[page.editor.evidence].choices
    page.editor.record(answer.answer_id, "It lasts 40 hours.", [choice[1]], False, "style")
    ((number, correction),) = context.store.corrections("open")
    assert correction.corrected == "It lasts 40 hours. [1]"
    assert correction.evidence == (answer.hits[0].chunk.chunk_id,)

    with gr.Blocks(analytics_enabled=False):
        review = CorrectionsPage(context)
    listed, detail, *_ = review.show("open")
    assert listed.value == number
    assert "<ins>" in detail
    review.approve_one(number, "open")
    assert [n for n, _ in context.store.corrections("approved")] == [number]


def test_a_refusal_needs_no_text_and_an_unchanged_answer_is_no_correction(context: ServeContext) -> None:
    page = chat_page(context)
    ask(page, QUESTION)
    (answer,) = context.store.turns(only_conversation(context))
    kept_open = page.editor.record(answer.answer_id, answer.text, [], False, "wrong")
    assert kept_open[page.editor.panel].visible
    assert context.store.corrections() == []
    page.editor.record(answer.answer_id, answer.text, [], True, "wrong")
    ((_, correction),) = context.store.corrections()
    assert correction.should_abstain
    assert correction.reason == "should_have_refused"


def test_uploads_leave_the_file_cache_and_a_bad_one_spoils_nothing(context: ServeContext, tmp_path: Path) -> None:
    with gr.Blocks(analytics_enabled=False):
        page = DocumentsPage(context)
    good, bad = tmp_path / "pan.md", tmp_path / "broken.pdf"
    good.write_text("# Pan\n\nNever heat it dry.\n", encoding="utf-8")
    bad.write_bytes(b"%PDF-1.7 nothing")
    *_, (notes, _) = page.index_files([str(bad), str(good)], "")
    assert "pan.md: 1 document added in " in notes
    assert notes.count("broken.pdf") == 1
    assert 'class="note failed"' in notes
    assert not good.exists()
    assert not bad.exists()
    kept = sorted(path.name for path in context.workspace.sources.iterdir())
    assert kept == ["kettle.pdf", "lamp.md", "pan.md"]
    assert len(context.documents()) == 3
    page.delete_document(next(d.doc_id for d in context.documents() if d.source == "pan.md"))
    assert len(context.documents()) == 2
    assert not (context.workspace.sources / "pan.md").exists()


def test_a_bad_new_version_leaves_the_former_one_in_place(context: ServeContext, tmp_path: Path) -> None:
    with gr.Blocks(analytics_enabled=False):
        page = DocumentsPage(context)
    former = (context.workspace.sources / "kettle.pdf").read_bytes()
    (tmp_path / "kettle.pdf").write_bytes(b"%PDF-1.7 nothing")
    list(page.index_files([str(tmp_path / "kettle.pdf")], ""))
    assert (context.workspace.sources / "kettle.pdf").read_bytes() == former
    assert "40 hours" in context.answerer.answer(QUESTION).text
