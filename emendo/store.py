"""The database: conversations, answers, corrections, promotions. SQLite by default, any SQLAlchemy URL otherwise."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from emendo.records import Answer, Correction, UserError, from_json, to_json

SCHEMA_VERSION = 1
metadata = sa.MetaData()
schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, nullable=False))
conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("conversation_id", sa.String, unique=True, nullable=False),
    sa.Column("title", sa.String, nullable=False),
    sa.Column("owner", sa.String, nullable=False, default=""),
    sa.Column("at", sa.String, nullable=False),
)
answers = sa.Table(
    "answers",
    metadata,
    sa.Column("answer_id", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, index=True, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # order within the conversation
    sa.Column("record", sa.Text, nullable=False),  # the Answer as JSON
    sa.Column("at", sa.String, nullable=False),
)
corrections = sa.Table(
    "corrections",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("correction_id", sa.String, unique=True, nullable=False),
    sa.Column("status", sa.String, nullable=False, index=True),
    sa.Column("record", sa.Text, nullable=False),  # the Correction as JSON; `status` above is the current one
)
promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("adapter_id", sa.String, nullable=False),  # "" means the base model
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("report", sa.String, nullable=False),
    sa.Column("forced_reason", sa.String, nullable=False, default=""),
    sa.Column("at", sa.String, nullable=False),
)


def now() -> str:
    """The time as ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Store:
    """All state that must survive a restart, behind one SQLAlchemy engine. Safe to use from several threads."""

    def __init__(self, location: Path | str):
        """Open or make the database; `location` is a SQLite file or a SQLAlchemy URL."""
        self._file = Path(location) if "://" not in str(location) else None
        url = f"sqlite:///{self._file}" if self._file else str(location)
        self.engine = sa.create_engine(url, connect_args={"timeout": 30} if self._file else {})
        if self._file:
            sa.event.listen(self.engine, "connect", _set_pragmas)
        try:
            self._open_schema()
        except sa.exc.DatabaseError as error:
            raise UserError(
                f"{location} is not an Emendo database ({error.orig}); move it away or give another workspace"
            ) from error

    def _open_schema(self) -> None:
        if not sa.inspect(self.engine).has_table("schema_version"):
            metadata.create_all(self.engine)
            with self.engine.begin() as db:
                if db.execute(sa.select(schema_version)).first() is None:
                    db.execute(schema_version.insert().values(version=SCHEMA_VERSION))
            return
        with self.engine.connect() as db:
            found = db.execute(sa.select(schema_version.c.version)).scalar_one()
        if found > SCHEMA_VERSION:
            raise UserError(
                f"the database has schema version {found}, this Emendo knows {SCHEMA_VERSION}; "
                "install the newer Emendo or use another workspace"
            )

    def backup(self, target: Path) -> Path:
        """Copy the SQLite database to `target` while it is in use."""
        if self._file is None:
            raise UserError("backup copies SQLite files only; use your database server's own tool (pg_dump)")
        with self.engine.connect() as db:
            db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy2(self._file, target)
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

    def save_answer(self, answer: Answer, conversation_id: str) -> None:
        with self.engine.begin() as db:
            same = answers.c.conversation_id == conversation_id
            last = db.execute(sa.select(sa.func.max(answers.c.number)).where(same)).scalar()
            db.execute(
                answers.insert().values(
                    answer_id=answer.answer_id,
                    conversation_id=conversation_id,
                    number=(last or 0) + 1,
                    record=to_json(answer),
                    at=now(),
                )
            )

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

    def set_correction_status(self, number: int, status: str) -> None:
        if status not in ("open", "approved", "rejected"):
            raise UserError(f"correction status {status!r}: expected open, approved or rejected")
        with self.engine.begin() as db:
            changed = db.execute(corrections.update().where(corrections.c.number == number).values(status=status)).rowcount
        if not changed:
            raise UserError(f"no correction number {number}; `emendo corrections` lists them")

    # -- promotions ----------------------------------------------------------------------------------------------------

    def promote(self, adapter_id: str, verdict: str, report: str = "", forced_reason: str = "") -> None:
        with self.engine.begin() as db:
            values = {"adapter_id": adapter_id, "verdict": verdict, "report": report, "forced_reason": forced_reason, "at": now()}
            db.execute(promotions.insert().values(values))

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
