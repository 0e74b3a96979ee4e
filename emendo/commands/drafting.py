"""questions: proposals from the manuals, for people who have no test questions yet."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from emendo.commands import Commands, add, at_least_one, opener
from emendo.terminal import say, say_json


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "questions", "draft test questions from the indexed manuals, for a person to accept", draft)
    parser.add_argument("action", choices=("draft",))
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl", help="a file instead of the drafts on the evaluation page")
    parser.add_argument("--count", type=at_least_one, default=60, help="at most so many drafts (default 60)")
    parser.add_argument("--product", default="", help="only from this product's manuals")
    parser.add_argument("--model", default="", help="a model that words further questions (openai:... or hf:...)")


def draft(args: argparse.Namespace) -> int:
    import dataclasses
    import json

    from emendo.files import write_whole
    from emendo.question_drafts import QuestionDrafts
    from emendo.records import UserError
    from eval.draft import DraftSettings, draft_questions
    from rag.index import open_index
    from rag.scope import chosen_scope

    opened = opener(args)
    index = open_index(opened.workspace.index, opened.embedder())
    documents = index.documents()
    chosen = chosen_scope(args.product, documents).doc_ids if args.product else None
    chosen_documents = [document for document in documents if chosen is None or document.doc_id in chosen]
    chunks = [chunk for document in chosen_documents for chunk in index.chunks(document.doc_id)]
    write = _writer(opened, args.model) if args.model else None
    questions = draft_questions(chunks, DraftSettings(count=args.count), write)
    if not questions:
        raise UserError(
            "no sentence, step or table of the indexed manuals gives a question; `emendo documents` lists what is there"
        )
    counts = Counter(question.category for question in questions)
    drafts = QuestionDrafts(opened.workspace.questions)
    if args.out:
        new = len(questions)
        write_whole(args.out, "".join(json.dumps(dataclasses.asdict(q), ensure_ascii=False) + "\n" for q in questions))
    else:
        new = drafts.add(questions)
    place = args.out or drafts.folder / "drafts.jsonl"
    if args.json:
        say_json({"file": str(place), "questions": len(questions), "new": new, "categories": counts})
        return 0
    say(f"{len(questions)} drafts in {place}, {new} of them new: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))
    if args.out:
        say(f"Read them, delete what nobody would ask, reword the rest; then: emendo eval run --questions {args.out}")
    else:
        say("Read, reword, accept or reject them on the evaluation page (`emendo serve`);")
        say(f"then: emendo eval run --questions {drafts.accepted_file}")
    return 0


def _writer(opened: Any, spec: str) -> Any:
    from langchain_core.messages import HumanMessage

    model = opened.chat_model(spec)
    return lambda prompts: [str(reply.content) for reply in model.batch([[HumanMessage(content=prompt)] for prompt in prompts])]
