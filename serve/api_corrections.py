"""Answers looked up again, rated and corrected."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Path
from pydantic import BaseModel, Field

from emendo.accounts import User
from emendo.records import Answer, UserError
from serve.auth import SignedIn, check_owner, needs
from serve.session import ServeContext
from sft.corrections import correct

Reason = Literal["wrong", "incomplete", "wrong_source", "should_have_refused", "over_refused", "style"]
Status = Literal["open", "approved", "rejected"]


Id = Annotated[str, Field(max_length=64)]


class Feedback(BaseModel):
    answer_id: Id
    rating: Literal["up", "down"]
    comment: str = Field("", max_length=4000)


class NewCorrection(BaseModel):
    """`evidence` are the chunk_ids of the answer's own passages that hold the right answer."""

    answer_id: Id
    corrected: str = Field("", max_length=20_000)
    evidence: list[Id] = []
    should_abstain: bool = False
    reason: Reason = "wrong"


class Verdict(BaseModel):
    status: Status


def add_correction_routes(app: FastAPI, context: ServeContext) -> None:
    """Answers belong to who asked; corrections are seen by who wrote them, and all of them by reviewers, who judge them."""
    tags: list[str | Enum] = ["corrections"]

    @app.get("/answers/{answer_id}", tags=tags)
    def answer(answer_id: str, user: SignedIn) -> dict[str, Any]:
        """The answer with its passages: what it was made from."""
        return dataclasses.asdict(_own(answer_id, user))

    @app.post("/feedback", tags=tags, status_code=201)
    def feedback(given: Feedback, user: SignedIn) -> dict[str, str]:
        """Thumbs up or down; a later rating of the same answer takes the place of the earlier one."""
        _own(given.answer_id, user)
        context.store.rate(given.answer_id, user.name, 1 if given.rating == "up" else -1, given.comment)
        return {"answer_id": given.answer_id, "rating": given.rating}

    @app.get("/corrections", tags=tags)
    def corrections(user: SignedIn, status: Status | None = None) -> list[dict[str, Any]]:
        return [{"number": n, **dataclasses.asdict(row)} for n, row in context.corrections(user, status).items()]

    @app.post("/corrections", tags=tags, status_code=201)
    def submit(given: NewCorrection, user: SignedIn) -> dict[str, Any]:
        """A correction of one of the user's own answers, open until a reviewer has judged it."""
        answer = _own(given.answer_id, user)
        row = correct(answer, given.corrected, given.evidence, given.should_abstain, given.reason, user.name)
        return {"number": context.store.add_correction(row), "status": row.status, "correction_id": row.correction_id}

    @app.patch("/corrections/{number}", tags=tags, dependencies=[needs("reviewer")])
    def judge(number: Annotated[int, Path(ge=1)], verdict: Verdict) -> dict[str, Any]:
        """Approve or reject; approved corrections are what the next tuning learns from."""
        try:
            context.store.set_correction_status(number, verdict.status)
        except UserError as error:
            raise HTTPException(404, str(error)) from error
        return {"number": number, "status": verdict.status}

    def _own(answer_id: str, user: User) -> Answer:
        try:
            check_owner(context, user, answer_id=answer_id)
        except UserError as error:
            raise HTTPException(404, str(error)) from error
        return context.store.answer(answer_id)
