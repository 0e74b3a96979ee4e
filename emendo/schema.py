"""The tables of the database, their version, and how an older database is brought up to date."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

SCHEMA_VERSION = 3
metadata = sa.MetaData()
schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, nullable=False))
conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("conversation_id", sa.String, unique=True, nullable=False),
    sa.Column("title", sa.String, nullable=False),
    sa.Column("owner", sa.String, nullable=False, default=""),  # a user's name; "" where there are no users
    sa.Column("at", sa.String, nullable=False),
)
answers = sa.Table(
    "answers",
    metadata,
    sa.Column("answer_id", sa.String, primary_key=True),
    sa.Column("conversation_id", sa.String, index=True, nullable=False),  # "" for answers given through the API
    sa.Column("number", sa.Integer, nullable=False),  # order within the conversation
    sa.Column("record", sa.Text, nullable=False),  # the Answer as JSON
    sa.Column("at", sa.String, nullable=False),
    sa.Column("owner", sa.String, nullable=False, default=""),
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
    sa.Column("author", sa.String, nullable=False, default=""),  # who decided; "" at the command line, and without users
    sa.Column("at", sa.String, nullable=False),
)
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("answer_id", sa.String, nullable=False, index=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("rating", sa.Integer, nullable=False),  # 1 thumbs up, -1 thumbs down
    sa.Column("comment", sa.Text, nullable=False, default=""),
    sa.Column("at", sa.String, nullable=False),
    sa.UniqueConstraint("answer_id", "owner"),
)
uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("file", sa.String, primary_key=True),  # name of the file kept in the workspace
    sa.Column("owner", sa.String, nullable=False),
)
users = sa.Table(
    "users",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("password_hash", sa.String, nullable=False),  # argon2id
    sa.Column("at", sa.String, nullable=False),
)
tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("token_sha256", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, index=True),  # the user's
    sa.Column("kind", sa.String, nullable=False),  # api | session
    sa.Column("expires", sa.String, nullable=False, default=""),  # ISO 8601, UTC; "" never
    sa.Column("at", sa.String, nullable=False),
)

# What brings a database of version n to version n + 1; tables that are new are made besides.
MIGRATIONS = {
    1: (
        "ALTER TABLE answers ADD COLUMN owner VARCHAR NOT NULL DEFAULT ''",
        "UPDATE answers SET owner = coalesce((SELECT c.owner FROM conversations c "
        "WHERE c.conversation_id = answers.conversation_id), '')",
    ),
    2: ("ALTER TABLE promotions ADD COLUMN author VARCHAR NOT NULL DEFAULT ''",),
}


def read_version(engine: sa.Engine) -> int:
    """The schema version of the database, 0 for an empty one."""
    if not sa.inspect(engine).has_table("schema_version"):
        return 0
    with engine.connect() as db:
        return int(db.execute(sa.select(schema_version.c.version)).scalar_one())


def migrate(engine: sa.Engine, keep: Callable[[int], object]) -> None:
    """Bring the database to SCHEMA_VERSION, all or nothing; a second process that comes at the same time finds it done.

    `keep` is called with the version found before an older database is changed, to save it.
    """
    with engine.begin() as db:
        if engine.dialect.name == "sqlite":
            db.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver would not put the changes of tables into a transaction
        else:
            db.exec_driver_sql("SELECT pg_advisory_xact_lock(60226)")
        metadata.create_all(db)
        found = db.execute(sa.select(schema_version.c.version)).scalar()
        if found and found < SCHEMA_VERSION:
            keep(found)  # while nobody else may write, and nothing of this transaction is seen
        for version in range(found or SCHEMA_VERSION, SCHEMA_VERSION):
            for statement in MIGRATIONS[version]:
                db.exec_driver_sql(statement)
        db.execute(schema_version.delete())
        db.execute(schema_version.insert().values(version=SCHEMA_VERSION))
