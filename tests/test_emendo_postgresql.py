"""The same store on a real PostgreSQL server, started for these tests; and databases of an earlier Emendo brought up to date."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from emendo.accounts import Accounts
from emendo.records import Answer, Correction, UserError, to_json
from emendo.schema import SCHEMA_VERSION, metadata
from emendo.store import Store

PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
INITDB = shutil.which("initdb", path=os.pathsep.join([os.environ["PATH"], *map(str, PLACES)]))


@pytest.fixture
def answer(hits) -> Answer:  # type: ignore[no-untyped-def]
    return Answer("a1", "how often", "how often", "Every 3 months. [1]", (), hits, False, 0.9, "quote", "", "p1", "i1")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of an empty database."""
    if INITDB is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user = None
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("running as root, and there is no user `postgres` to run the server as")
    folder = Path(subprocess.run(["mktemp", "-d"], user=user, capture_output=True, text=True, check=True).stdout.strip())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    control = str(Path(INITDB).resolve().with_name("pg_ctl"))
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    quiet = {"user": user, "cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([INITDB, "-D", folder / "data", "-U", "emendo", "-A", "trust", "--no-sync"], **quiet)  # type: ignore[call-overload]
    log = str(folder / "log")
    subprocess.run([control, "-D", folder / "data", "-w", "-l", log, "-o", options, "start"], **quiet)  # type: ignore[call-overload]
    yield f"postgresql://emendo@127.0.0.1:{port}/postgres"
    subprocess.run([control, "-D", folder / "data", "-m", "immediate", "stop"], **quiet)  # type: ignore[call-overload]
    shutil.rmtree(folder)


@pytest.fixture
def url(server: str) -> Iterator[str]:
    yield server
    store = Store(server)
    with store.engine.begin() as db:
        metadata.drop_all(db)
    store.close()


def test_everything_stored_comes_back_from_a_server(url: str, answer: Answer, correction: Correction) -> None:
    store = Store(url)
    conversation = store.create_conversation("Käse ☕", "ana")
    store.save_answer(answer, conversation, "ana")
    store.save_answer(dataclasses.replace(answer, answer_id="a2"), conversation, "ana")
    number = store.add_correction(correction)
    assert store.add_correction(correction) == number
    store.set_correction_status(number, "rejected")
    for rating in (-1, 1):
        store.rate("a1", "ana", rating, "good")
    store.promote("adapter-7", "PROMOTE")
    store.close()
    store = Store(url)
    assert [row["title"] for row in store.conversations("ana")] == ["Käse ☕"]
    assert [turn.answer_id for turn in store.turns(conversation)] == ["a1", "a2"]
    assert store.answer("a1") == answer
    assert store.owner_of_answer("a1") == "ana"
    assert [(n, c.status) for n, c in store.corrections()] == [(number, "rejected")]
    assert [row["rating"] for row in store.ratings()] == [1]
    assert store.rated_answers() == [(answer, conversation, 1)]
    assert store.promoted() == "adapter-7"
    store.delete_conversation(conversation)
    assert store.turns(conversation) == []
    with pytest.raises(UserError, match="pg_dump"):
        store.backup(Path("copy.db"))
    store.close()


def test_users_and_tokens_work_on_a_server(url: str) -> None:
    store = Store(url)
    accounts = Accounts(store.engine)
    accounts.add("ada", "admin", "correct horse")
    with pytest.raises(UserError, match="already"):
        accounts.add("ada", "admin", "correct horse")
    token = accounts.new_token("ada", "session")
    assert accounts.check_password("ada", "correct horse")
    assert accounts.user_of(token, "session").name == "ada"  # type: ignore[union-attr]
    assert accounts.revoke("ada") == 1
    store.close()


def test_a_server_that_is_away_is_told_without_the_password() -> None:
    with pytest.raises(UserError) as told:
        Store("postgresql://emendo:secret@127.0.0.1:1/none")
    assert "127.0.0.1:1/none" in str(told.value)
    assert "secret" not in str(told.value)
    with pytest.raises(UserError, match="database URL"):
        Store("nosuchkind://host/name")


def test_a_database_of_version_1_is_brought_up_to_date_and_kept(tmp_path: Path, answer: Answer) -> None:
    path = tmp_path / "emendo.db"
    with sqlite3.connect(path) as db:
        db.executescript(
            "CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version VALUES (1);"
            "CREATE TABLE conversations (number INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id VARCHAR NOT NULL UNIQUE,"
            " title VARCHAR NOT NULL, owner VARCHAR NOT NULL, at VARCHAR NOT NULL);"
            "INSERT INTO conversations VALUES (1, 'c1', 'Kettle', 'ana', '2026-01-01');"
            "CREATE TABLE answers (answer_id VARCHAR PRIMARY KEY, conversation_id VARCHAR NOT NULL, number INTEGER NOT NULL,"
            " record TEXT NOT NULL, at VARCHAR NOT NULL);"
            "CREATE TABLE promotions (number INTEGER PRIMARY KEY AUTOINCREMENT, adapter_id VARCHAR NOT NULL,"
            " verdict VARCHAR NOT NULL, report VARCHAR NOT NULL, forced_reason VARCHAR NOT NULL, at VARCHAR NOT NULL);"
            "INSERT INTO promotions VALUES (1, 'adapter-7', 'PROMOTE', '', '', '2026-01-01');"
        )
        db.execute("INSERT INTO answers VALUES ('a1', 'c1', 1, ?, '2026-01-01')", (to_json(answer),))
    for _ in range(2):  # the second time there is nothing to do
        store = Store(path)
        assert store.turns("c1") == [answer]
        assert store.owner_of_answer("a1") == "ana"
        assert store.corrections() == []
        assert store.promotions()[0]["author"] == ""
        assert sa.inspect(store.engine).has_table("users")
        store.close()
    with sqlite3.connect(tmp_path / "emendo.version1.db") as kept:
        assert kept.execute("SELECT version FROM schema_version").fetchone() == (1,)
        assert kept.execute("SELECT count(*) FROM answers").fetchone() == (1,)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT version FROM schema_version").fetchone() == (SCHEMA_VERSION,)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "emendo.db"
    with sqlite3.connect(path) as db:  # of version 1 by its number, but without the table that is to be changed
        db.executescript(
            "CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version VALUES (1);"
            "CREATE VIEW answers AS SELECT 1 AS answer_id;"
        )
    with pytest.raises(UserError, match="not an Emendo database"):
        Store(path)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT version FROM schema_version").fetchone() == (1,)
        assert db.execute("SELECT name FROM sqlite_master WHERE name = 'users'").fetchone() is None
