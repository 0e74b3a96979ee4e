"""What a page offers for download or in a window of its own; each behind the same rules as what it is made of."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Literal

from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from emendo.records import Answer, UserError, to_json
from serve.auth import SignedIn, check_owner, needs
from serve.render import page_label
from serve.session import ServeContext


def add_file_routes(app: FastAPI, context: ServeContext) -> None:
    """Conversations for who had them, corrections and reports of evaluations for reviewers."""
    tags: list[str | Enum] = ["files"]

    @app.get("/conversations/{conversation_id}/export", tags=tags, response_model=None)
    def conversation(conversation_id: str, user: SignedIn, to: Literal["md", "json"] = "md") -> Response:
        """The conversation as Markdown with its sources, or as JSON with all that its answers were made from."""
        try:
            check_owner(context, user, conversation_id=conversation_id)
        except UserError as error:
            raise HTTPException(404, str(error)) from error
        turns = context.store.turns(conversation_id)
        rows = context.store.conversations(user.name)
        title = next(row["title"] for row in rows if row["conversation_id"] == conversation_id)
        headers = {"content-disposition": f'attachment; filename="conversation.{to}"'}
        if to == "json":
            answers = [dataclasses.asdict(turn) for turn in turns]
            return JSONResponse({"conversation_id": conversation_id, "title": title, "answers": answers}, headers=headers)
        return PlainTextResponse(as_markdown(title, turns), headers=headers, media_type="text/markdown")

    @app.get("/corrections/export", tags=tags, dependencies=[needs("reviewer")], response_model=None)
    def corrections(status: Literal["open", "approved", "rejected"] | None = None) -> Response:
        """All corrections, or those of one status, as `emendo corrections import` reads them."""
        text = "".join(to_json(row) + "\n" for _, row in context.store.corrections(status))
        headers = {"content-disposition": 'attachment; filename="corrections.jsonl"'}
        return PlainTextResponse(text, headers=headers, media_type="application/jsonl")

    @app.get("/reports/{run}", tags=tags, dependencies=[needs("reviewer")], response_class=HTMLResponse)
    def report(run: str) -> HTMLResponse:
        """The whole report of an evaluation of this workspace."""
        files = {file.parent.name: file for file in context.workspace.runs.glob("*/report.html")}
        if run not in files:
            raise HTTPException(404, f"no report {run!r}")
        return HTMLResponse(files[run].read_text(encoding="utf-8"))


def as_markdown(title: str, turns: list[Answer]) -> str:
    """Questions as headings, answers as they were given, the passages they cite below each."""
    parts = [f"# {title}"]
    for turn in turns:
        parts += [turn.text] if turn.beside else [f"## {turn.question}", turn.text]
        cited = {citation.n: citation for citation in turn.citations}
        sources = [
            f"[{n}] " + " › ".join(part for part in (c.title, *c.section[-1:], page_label(c.pages)) if part)
            for n, c in sorted(cited.items())
        ]
        if sources:
            parts.append("  \n".join(sources))
    return "\n\n".join(parts) + "\n"
