"""Two models' answers to one question: recorded, rated, corrected and taken back each as an answer of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from small_bot import make_context
from test_serve_learning import add_adapter

from emendo.records import Answer
from emendo.scripted_model import ScriptedChatModel
from serve.api_files import as_markdown
from serve.pages.chat import ALL_PRODUCTS, ChatPage
from serve.pages.models import BASE, BESIDE, SERVING
from serve.session import ServeContext

QUESTION = "How long does the battery of the kettle last?"
BOTH = BESIDE + "a1"


class Model(ScriptedChatModel):
    adapter_id: str = ""
    model_id: str = "hf:small"


@pytest.fixture
def context(tmp_path: Path) -> ServeContext:
    """The base model says "Base", adapter a1 says "Tuned"."""
    context = make_context(tmp_path / "workspace", Model(otherwise="Base [1]"))
    context.load_model = lambda adapter: Model(adapter_id=adapter, otherwise="Tuned [1]" if adapter else "Base [1]")
    add_adapter(context, "a1")
    return context


@pytest.fixture
def page(context: ServeContext) -> ChatPage:
    with gr.Blocks(analytics_enabled=False):
        return ChatPage(context)


def turns(context: ServeContext) -> list[Answer]:
    (row,) = context.store.conversations()
    return context.store.turns(row["conversation_id"])


def ask(page: ChatPage, question: str = QUESTION, model: str = BOTH, conversation: str = "") -> tuple[str, list[str]]:
    """(conversation, what the messages say)."""
    *_, last = page.ask(question, conversation, ALL_PRODUCTS, model)
    return last[page.conversation_id], texts(page, last)


def texts(page: ChatPage, shown: dict[Any, Any]) -> list[str]:
    return [message["content"][0]["text"] for message in shown[page.chat].value]


def test_the_picker_offers_both_where_there_are_two(context: ServeContext, page: ChatPage) -> None:
    labels = {value: label for label, value in page.models.choices().choices}
    assert labels == {SERVING: "Base model", "a1": "Adapter a1", BOTH: "Side by side"}
    add_adapter(context, "a2", at="2026-02-01T00:00:00")
    context.store.promote("a1", "PROMOTE")
    context.reload()
    assert [label for label, _ in page.models.choices().choices if "Side" in label] == [
        "Side by side with Base model",
        "Side by side with Adapter a2",
    ]
    assert page.models.choices(BASE).value == BASE, "what was chosen stays"
    assert page.models.choices("a1").value == SERVING, "it serves now, under its own name"


def test_one_question_has_two_answers_each_of_its_own(context: ServeContext, page: ChatPage) -> None:
    conversation, shown = ask(page)
    base, tuned = turns(context)
    assert [(row.text, row.adapter_id) for row in (base, tuned)] == [("Base [1]", ""), ("Tuned [1]", "a1")]
    assert tuned.beside == base.answer_id
    question, left, right = shown
    assert question == QUESTION
    assert "Base model" in left
    assert "Adapter a1" in right
    assert page._turn_at(conversation, 2) == tuned
    assert as_markdown("Kettle", [base, tuned]).count(QUESTION) == 1

    ask(page, "And the lamp?", SERVING, conversation)
    assert len(texts(page, page.open(conversation))) == 5


def test_an_answer_that_never_began_stands_under_its_models_name(context: ServeContext, page: ChatPage) -> None:
    asking = page.ask(QUESTION, "", ALL_PRODUCTS, BOTH)
    begun = (update[page.answering] for update in asking if update.get(page.answering))
    assert next(begun) != next(begun)  # the second one is asked, and the tab is closed
    asking.close()
    conversation = context.store.conversations()[0]["conversation_id"]
    _, left, right = texts(page, page.open(conversation))
    assert "Base model" in left
    assert "Adapter a1" in right


def test_a_preference_is_recorded_and_taken_back(context: ServeContext, page: ChatPage) -> None:
    conversation, _ = ask(page)
    base, tuned = turns(context)
    like: Any = SimpleNamespace(index=2, liked=True)
    page.rate(conversation, like)
    (row,) = context.store.ratings()
    assert (row["answer_id"], row["rating"], row["comment"]) == (tuned.answer_id, 1, f"preferred to {base.answer_id}")
    assert page.open(conversation)[page.chat].feedback_value == [None, "Like"]
    like.liked = ""
    page.rate(conversation, like)
    assert context.store.ratings() == []


def test_thumbs_down_is_recorded_and_opens_the_editor_of_that_answer(context: ServeContext, page: ChatPage) -> None:
    conversation, _ = ask(page)
    dislike: Any = SimpleNamespace(index=1, liked=False)
    opened = page.rate(conversation, dislike)
    assert opened[page.editor.panel].visible
    assert opened[page.editor.text].value == "Base [1]"
    assert [row["rating"] for row in context.store.ratings()] == [-1]


def test_retry_and_undo_take_both(context: ServeContext, page: ChatPage) -> None:
    conversation, _ = ask(page)
    old = {turn.answer_id for turn in turns(context)}
    *_, last = page.retry(conversation, ALL_PRODUCTS, SERVING)
    (new,) = turns(context)
    assert new.answer_id not in old
    assert len(texts(page, last)) == 2
    ask(page, "And the lamp?", BOTH, conversation)
    page.undo(conversation)
    assert turns(context) == [new]


def test_an_edited_question_is_asked_anew_and_what_followed_goes(context: ServeContext, page: ChatPage) -> None:
    conversation, _ = ask(page, "First?", SERVING)
    ask(page, "Is 5 > 4 & 3?", BOTH, conversation)
    ask(page, "Third?", SERVING, conversation)
    first, second, *_ = turns(context)
    edit: Any = SimpleNamespace(index=2, value="Is 6 &gt; 4 & 3?")  # as the page holds it
    list(page.edit(conversation, ALL_PRODUCTS, SERVING, edit))
    assert [turn.question for turn in turns(context)] == ["First?", "Is 6 > 4 & 3?"]
    assert turns(context)[0] == first
    assert second not in turns(context)
    edit.value = "Is 6 &gt; 4 & 3?"
    before = turns(context)
    list(page.edit(conversation, ALL_PRODUCTS, SERVING, edit))
    assert turns(context) == before, "nothing was changed"
