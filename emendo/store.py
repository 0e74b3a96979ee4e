"""The database: conversations, answers, corrections, promotions. SQLite by default, any SQLAlchemy URL otherwise."""

from __future__ import annotations

import dataclasses
import sqlite3
import uuid
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from emendo.records import Answer, Correction, UserError, from_json, to_json
from emendo.schema import (
    SCHEMA_VERSION,
    answers,
    conversations,
    corrections,
    feedback,
    migrate,
    promotions,
    read_version,
    uploads,
)


def now() -> str:
    """The time as ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Store:
    """All state that must survive a restart, behind one SQLAlchemy engine. Safe to use from several threads."""

    def __init__(self, location: Path | str):
        """Open or make the database; `location` is a SQLite file or a SQLAlchemy URL (postgresql://user:password@host/name)."""
        self.location = location
        self._file = Path(location) if "://" not in str(location) else None
        url = f"sqlite:///{self._file}" if self._file else str(location).replace("postgresql://", "postgresql+pg8000://", 1)
        options: dict[str, Any] = {"connect_args": {"timeout": 30}} if self._file else {"pool_pre_ping": True}
        try:
            self.engine = sa.create_engine(url, **options)
        except (sa.exc.ArgumentError, ImportError) as error:
            raise UserError(f"database URL: {error}; for PostgreSQL: pip install 'emendo[postgresql]'") from error
        if self._file:
            sa.event.listen(self.engine, "connect", _set_pragmas)
        try:
            self._open_schema()
        except (sa.exc.DatabaseError, sa.exc.InterfaceError) as error:
            raise UserError(self._why_closed(str(error.orig))) from error

    def _open_schema(self) -> None:
        found = read_version(self.engine)
        if found > SCHEMA_VERSION:
            raise UserError(
                f"the database has schema version {found}, this Emendo knows {SCHEMA_VERSION}; "
                "install the newer Emendo or use another workspace"
            )
        if found < SCHEMA_VERSION:
            migrate(self.engine, self._keep_version)

    def _why_closed(self, reason: str) -> str:
        name = self.engine.url.render_as_string()  # without its password
        if not self._file:
            return f"the database {name} does not open ({reason}); check EMENDO_DATABASE, and that the server runs"
        if "locked" in reason:
            return f"{name} is held by another process; run the command again when that has ended"
        if any(fault in reason for fault in ("readonly", "unable to open", "disk")):
            return f"{self._file} does not open ({reason}); make it and its folder writable, free space, or use another workspace"
        return f"{name} is not an Emendo database ({reason}); move it away or give another workspace"

    def _keep_version(self, version: int) -> None:
        """Save a SQLite file of an older version beside it; a database server has its own backups."""
        if self._file:
            self.backup(self._file.with_suffix(f".version{version}.db"))

    @property
    def is_file(self) -> bool:
        """False for a database server."""
        return self._file is not None

    def backup(self, target: Path) -> Path:
        """Copy the SQLite database to `target` while it is in use."""
        if self._file is None:
            raise UserError("backup copies SQLite files only; use your database server's own tool (pg_dump)")
        with closing(sqlite3.connect(self._file)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
        return target

    # -- conversations and answers -------------------------------------------------------------------------------------

    def create_conversation(self, title: str = "New conversation", owner: str = "") -> str:
        conversation_id = uuid.uuid4().hex
        with self.engine.begin() as db:
            db.execute(conversations.insert().values(conversation_id=conversation_id, title=title, owner=owner, at=now()))
        return conversation_id

    def conversations(self, owner: str = "") -> list[dict[str, str]]:
        """Newest first: conversation_id, title, owner, at."""
        query = sa.select(conversations).where(conversations.c.owner == owner).order_by(conversations.c.number.desc())
        with self.engine.connect() as db:
            return [dict(row._mapping) for row in db.execute(query)]

    def rename_conversation(self, conversation_id: str, title: str) -> None:
        with self.engine.begin() as db:
            db.execute(conversations.update().where(conversations.c.conversation_id == conversation_id).values(title=title))

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete the conversation and its answers; corrections made from them stay, they carry their own copy."""
        with self.engine.begin() as db:
            db.execute(answers.delete().where(answers.c.conversation_id == conversation_id))
            db.execute(conversations.delete().where(conversations.c.conversation_id == conversation_id))

    def owner_of_conversation(self, conversation_id: str) -> str | None:
        """The user's name, "" where there are no users, None for an unknown id."""
        return self._owner(conversations, conversations.c.conversation_id == conversation_id)

    def owner_of_answer(self, answer_id: str) -> str | None:
        return self._owner(answers, answers.c.answer_id == answer_id)

    def _owner(self, table: sa.Table, same: sa.ColumnElement[bool]) -> str | None:
        with self.engine.connect() as db:
            return db.execute(sa.select(table.c.owner).where(same)).scalar()

    def save_answer(self, answer: Answer, conversation_id: str, owner: str = "") -> None:
        """Store it as the conversation's last; conversation "" is for answers that belong to none."""
        with self.engine.begin() as db:
            same = answers.c.conversation_id == conversation_id
            last = db.execute(sa.select(sa.func.max(answers.c.number)).where(same)).scalar() if conversation_id else 0
            db.execute(
                answers.insert().values(
                    answer_id=answer.answer_id,
                    conversation_id=conversation_id,
                    number=(last or 0) + 1,
                    record=to_json(answer),
                    at=now(),
                    owner=owner,
                )
            )

    def replace_answer(self, answer: Answer) -> None:
        """Put it in the place of the one with its id; where that was deleted meanwhile nothing changes."""
        with self.engine.begin() as db:
            db.execute(answers.update().where(answers.c.answer_id == answer.answer_id).values(record=to_json(answer)))

    def delete_answer(self, answer_id: str) -> None:
        with self.engine.begin() as db:
            db.execute(answers.delete().where(answers.c.answer_id == answer_id))

    def answer(self, answer_id: str) -> Answer:
        with self.engine.connect() as db:
            record = db.execute(sa.select(answers.c.record).where(answers.c.answer_id == answer_id)).scalar()
        if record is None:
            raise UserError(f"no answer {answer_id!r} in this workspace")
        return from_json(Answer, record)

    def turns(self, conversation_id: str) -> list[Answer]:
        """The conversation's answers, oldest first."""
        query = sa.select(answers.c.record).where(answers.c.conversation_id == conversation_id).order_by(answers.c.number)
        with self.engine.connect() as db:
            return [from_json(Answer, record) for record in db.execute(query).scalars()]

    # -- corrections ---------------------------------------------------------------------------------------------------

    def add_correction(self, correction: Correction) -> int:
        """Store it and return its number; the same correction_id again returns the number it has."""
        return self.add_corrections([correction])[0]

    def add_corrections(self, rows: Sequence[Correction]) -> list[int]:
        """Store all or none, and return their numbers."""
        numbers = []
        with self.engine.begin() as db:
            for row in rows:
                same = corrections.c.correction_id == row.correction_id
                known = db.execute(sa.select(corrections.c.number).where(same)).scalar()
                if known is None:
                    values = {"correction_id": row.correction_id, "status": row.status, "record": to_json(row)}
                    known = db.execute(corrections.insert().values(values)).inserted_primary_key[0]  # type: ignore[index]
                numbers.append(int(known))
        return numbers

    def corrections(self, status: str | None = None) -> list[tuple[int, Correction]]:
        """(number, correction) in the order they came."""
        query = sa.select(corrections).order_by(corrections.c.number)
        if status is not None:
            query = query.where(corrections.c.status == status)
        with self.engine.connect() as db:
            return [(row.number, _with_status(row)) for row in db.execute(query)]

    def approved_ids(self) -> tuple[str, ...]:
        """correction_id of the approved ones, in the order they came."""
        query = sa.select(corrections.c.correction_id).where(corrections.c.status == "approved").order_by(corrections.c.number)
        with self.engine.connect() as db:
            return tuple(db.execute(query).scalars())

    def set_correction_status(self, number: int, status: str) -> None:
        if status not in ("open", "approved", "rejected"):
            raise UserError(f"correction status {status!r}: expected open, approved or rejected")
        self._change_correction(number, {"status": status})

    def edit_correction(self, number: int, correction: Correction) -> None:
        """Put this one in the place of number `number`; its status stays."""
        self._change_correction(number, {"correction_id": correction.correction_id, "record": to_json(correction)})

    def _change_correction(self, number: int, values: dict[str, str]) -> None:
        changed = 0
        if number < 2**31:  # larger ones fit into no column of numbers
            with self.engine.begin() as db:
                changed = db.execute(corrections.update().where(corrections.c.number == number).values(values)).rowcount
        if not changed:
            raise UserError(f"no correction number {number}; `emendo corrections` lists them")

    # -- feedback and uploads ------------------------------------------------------------------------------------------

    def rate(self, answer_id: str, owner: str, rating: int, comment: str = "") -> None:
        """Thumbs up (1), down (-1) or neither (0); it takes the place of the user's earlier rating of the same answer."""
        with self.engine.begin() as db:
            db.execute(feedback.delete().where(feedback.c.answer_id == answer_id, feedback.c.owner == owner))
            values = {"answer_id": answer_id, "owner": owner, "rating": rating, "comment": comment, "at": now()}
            if rating:
                db.execute(feedback.insert().values(values))

    def ratings(self) -> list[dict[str, Any]]:
        """Oldest first: answer_id, owner, rating, comment, at, and the answer, None where its conversation was deleted."""
        query = sa.select(feedback, answers.c.record).order_by(feedback.c.number)
        query = query.outerjoin(answers, answers.c.answer_id == feedback.c.answer_id)
        with self.engine.connect() as db:
            rows = [dict(row._mapping) for row in db.execute(query)]
        return [row | {"answer": from_json(Answer, record) if (record := row.pop("record")) else None} for row in rows]

    def ratings_of(self, answer_ids: Sequence[str], owner: str) -> dict[str, int]:
        """answer_id -> the user's rating of it, where there is one."""
        query = sa.select(feedback.c.answer_id, feedback.c.rating)
        query = query.where(feedback.c.owner == owner, feedback.c.answer_id.in_(answer_ids))
        with self.engine.connect() as db:
            return {row.answer_id: row.rating for row in db.execute(query)}

    def rated_answers(self) -> list[tuple[Answer, str, int]]:
        """(answer, its conversation, thumbs up less thumbs down) of each rated answer; a thumb taken back (0) is none."""
        columns = (answers.c.record, answers.c.conversation_id)
        same = (feedback.c.answer_id == answers.c.answer_id) & (feedback.c.rating != 0)
        query = sa.select(*columns, sa.func.sum(feedback.c.rating).label("thumbs")).join(feedback, same)
        query = query.group_by(answers.c.answer_id, *columns).order_by(sa.func.min(feedback.c.number))
        with self.engine.connect() as db:
            return [(from_json(Answer, row.record), row.conversation_id, int(row.thumbs)) for row in db.execute(query)]

    def set_upload_owner(self, file: str, owner: str) -> None:
        with self.engine.begin() as db:
            db.execute(uploads.delete().where(uploads.c.file == file))
            db.execute(uploads.insert().values(file=file, owner=owner))

    def upload_owner(self, file: str) -> str | None:
        """Who uploaded the kept file of this name; None where nobody did."""
        return self._owner(uploads, uploads.c.file == file)

    # -- promotions ----------------------------------------------------------------------------------------------------

    def promote(self, adapter_id: str, verdict: str, report: str = "", forced_reason: str = "", author: str = "") -> None:
        """Record that this adapter serves from now on, or goes on to serve; `author` decided it."""
        with self.engine.begin() as db:
            decided = {"forced_reason": forced_reason, "author": author, "at": now()}
            db.execute(promotions.insert().values(adapter_id=adapter_id, verdict=verdict, report=report, **decided))

    def promotions(self) -> list[dict[str, Any]]:
        """Newest first."""
        with self.engine.connect() as db:
            return [dict(row._mapping) for row in db.execute(sa.select(promotions).order_by(promotions.c.number.desc()))]

    def promoted(self) -> str:
        """The adapter that serves now; "" is the base model."""
        history = self.promotions()
        return history[0]["adapter_id"] if history else ""

    def close(self) -> None:
        self.engine.dispose()


def _with_status(row: Any) -> Correction:
    return dataclasses.replace(from_json(Correction, row.record), status=row.status)


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers never wait for the writer; a kill leaves a whole database
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
