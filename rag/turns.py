"""What is searched for a question of a conversation: its words, with what it leans on, and the product that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emendo.records import Answer
from rag.condense import condense, is_reply

if TYPE_CHECKING:
    from rag.retrieve import Retriever


@dataclass(frozen=True)
class Turn:
    """One question of a conversation, ready to be searched (Retriever.search_turn)."""

    standalone: str  # with what was said before it, where it leans on that
    asked: str  # what it asks by itself; for a reply to a question back, all of `standalone`
    product: str  # "" searches all


def turn_of(retriever: Retriever, question: str, history: Sequence[Answer], product: str = "") -> Turn:
    """`history` holds earlier answers, oldest first; `product` is what the user chose, and wins."""
    standalone = condense(question, history)
    asked = standalone if is_reply(question, history) else question
    if not product:
        # A question that leans on the answer before is about the product that this answer is about.
        leans = standalone != question
        earlier = [f"{turn.standalone} {_cited_product(turn) if leans else ''}" for turn in history]
        product = retriever.product_of_conversation(standalone, earlier, asked)
    return Turn(standalone, asked, product)


def _cited_product(answer: Answer) -> str:
    """The product whose manuals all its citations are from; "" where there is none, or several."""
    cited = {citation.chunk_id for citation in answer.citations}
    products = {hit.chunk.product for hit in answer.hits if hit.chunk.chunk_id in cited}
    return products.pop() if len(products) == 1 else ""
