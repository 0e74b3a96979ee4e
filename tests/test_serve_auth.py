"""Users, sign-in and the wall: who gets in, from where, and what a browser may do with what it gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.context import LocalContext
from running_site import running
from small_bot import make_context

from emendo.accounts import Accounts
from emendo.cli import main
from emendo.records import UserError
from emendo.store import Store
from serve.api import build_api
from serve.app import serve
from serve.pages.chat import ALL_PRODUCTS, ChatPage
from serve.pages.corrections import CorrectionsPage
from serve.pages.documents import DocumentsPage
from serve.session import ServeContext

PASSWORD = "correct horse battery"
QUESTION = "How long does the battery of the kettle last?"


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(Store(tmp_path / "emendo.db").engine)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServeContext, str]]:
    with running(tmp_path_factory.mktemp("site")) as (context, url):
        context.accounts.add("ada", "admin", PASSWORD)
        yield context, url


# -- accounts ----------------------------------------------------------------------------------------------------------


def test_neither_a_password_nor_a_token_can_be_read_in_the_database(accounts: Accounts, tmp_path: Path) -> None:
    accounts.add("ada", "admin", PASSWORD)
    token = accounts.new_token("ada")
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"$argon2id$" in stored
    assert PASSWORD.encode() not in stored
    assert token.encode() not in stored
    assert accounts.user_of(token, "api").role == "admin"  # type: ignore[union-attr]
    assert accounts.user_of(token, "session") is None, "a program's token is no browser's session"
    assert accounts.user_of(token + "x", "api") is None


@pytest.mark.parametrize(
    ("name", "role", "password", "told"),
    [
        ("Ada L", "admin", PASSWORD, "user name 'Ada L'"),
        ("", "admin", PASSWORD, "user name ''"),
        ("ada", "owner", PASSWORD, "expected one of asker, reviewer, admin"),
        ("ada", "asker", PASSWORD, "the first user must be an admin"),
        ("ada", "admin", "short", "expected at least 8"),
        ("ada", "admin", "\udcff" * 8, "not UTF-8 text"),  # what Python makes of other bytes
    ],
)
def test_a_bad_user_is_refused(accounts: Accounts, name: str, role: str, password: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        accounts.add(name, role, password)
    assert not accounts.exist()


def test_users_end_with_their_tokens_but_the_last_admin_stays(accounts: Accounts) -> None:
    accounts.add("ada", "admin", PASSWORD)
    accounts.add("ben", "asker", PASSWORD)
    with pytest.raises(UserError, match="there is a user 'ben' already"):
        accounts.add("ben", "asker", PASSWORD)
    token, session = accounts.new_token("ben"), accounts.new_token("ben", "session")
    accounts.set_password("ben", "another password")
    assert accounts.user_of(session, "session") is None
    assert accounts.user_of(token, "api") is not None
    assert not accounts.check_password("ben", PASSWORD)
    accounts.remove("ben")
    assert accounts.user_of(token, "api") is None
    accounts.add("eve", "asker", PASSWORD)
    with pytest.raises(UserError, match="the last admin"):
        accounts.remove("ada")
    with pytest.raises(UserError, match="no user 'zoe'; known: ada, eve"):
        accounts.new_token("zoe")


def test_the_first_user_keeps_what_was_made_without_users(tmp_path: Path) -> None:
    store = Store(tmp_path / "emendo.db")
    store.create_conversation("before")
    accounts = Accounts(store.engine)
    accounts.add("ada", "admin", PASSWORD)
    accounts.add("eve", "admin", PASSWORD)
    assert [row["title"] for row in store.conversations("ada")] == ["before"]
    assert store.conversations("eve") == []


def test_the_commands_add_list_and_give_a_token_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> tuple[int, str]:
        code = main(["--workspace", str(tmp_path), "users", *words])
        return code, capsys.readouterr().out

    monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=lambda: PASSWORD + "\n"))
    assert run("add", "ada", "--role", "admin", "--password-stdin")[0] == 0
    assert json.loads(run("list", "--json")[1]) == [{"name": "ada", "role": "admin"}]
    token = run("token", "ada")[1].strip()
    accounts = Accounts(Store(tmp_path / "emendo.db").engine)
    assert accounts.user_of(token, "api") is not None
    assert run("revoke", "ada")[0] == 0
    assert accounts.user_of(token, "api") is None
    assert run("token", "zoe")[0] == 2
    assert run("remove", "ada")[0] == 0
    assert not accounts.exist()


# -- signing in --------------------------------------------------------------------------------------------------------


def test_a_browser_signs_in_and_out(site: tuple[ServeContext, str]) -> None:
    _, url = site
    with httpx.Client(base_url=url, timeout=60) as browser:
        page = browser.get("/", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login")
        failed = browser.post("/login", data={"name": "ada", "password": "wrong"}, follow_redirects=True)
        assert "Name or password is wrong" in failed.text
        entered = browser.post("/login", data={"name": "Ada ", "password": PASSWORD})
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert browser.get("/").status_code == 200
        assert browser.get("/documents").status_code == 200
        browser.post("/logout")
        assert browser.get("/documents").status_code == 401
        old = {"cookie": cookie.split(";")[0]}
        assert httpx.get(f"{url}/documents", headers=old).status_code == 401, "the session ends, not only its cookie"


def test_guessing_a_password_is_slowed(site: tuple[ServeContext, str], monkeypatch: pytest.MonkeyPatch) -> None:
    context, url = site
    monkeypatch.setattr("serve.auth.WITHIN", 3600.0)  # each try takes seconds on a busy machine
    context.accounts.add("gus", "asker", PASSWORD)
    wrong = {"name": "gus", "password": "wrong password"}
    assert [httpx.post(f"{url}/login", data=wrong, timeout=60).status_code for _ in range(6)] == [303] * 5 + [429]
    right = {"name": "gus", "password": PASSWORD}
    refused = httpx.post(f"{url}/login", data=right, timeout=60)
    assert refused.status_code == 429
    assert '<p role="alert">Too many failed sign-ins as gus.' in refused.text, "told on the page that a person sees"


def send_event(browser: httpx.Client, handler: str, data: list[object], session: str) -> dict[str, Any]:
    """What Gradio's page would send, and the last message that comes back."""
    [number] = [part["id"] for part in browser.get("/config").json()["dependencies"] if part["api_name"] == handler]
    browser.post("/gradio_api/queue/join", json={"fn_index": number, "data": data, "session_hash": session})
    with browser.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as messages:
        lines = [json.loads(line.removeprefix("data: ")) for line in messages.iter_lines() if line.startswith("data: ")]
    [last] = [line for line in lines if line["msg"] == "process_completed"]
    return last  # type: ignore[no-any-return]


def test_the_pages_know_who_sent_an_event_whatever_session_it_names(site: tuple[ServeContext, str]) -> None:
    context, url = site
    context.accounts.add("ana", "asker", PASSWORD)
    event: list[object] = [QUESTION, None, ALL_PRODUCTS, "serving"]
    with httpx.Client(base_url=url, timeout=60) as ada, httpx.Client(base_url=url, timeout=60) as ana:
        for name, browser in (("ada", ada), ("ana", ana)):
            browser.post("/login", data={"name": name, "password": PASSWORD})
        assert send_event(ada, "ask", event, "tab-of-ada")["success"]
        [conversation] = context.store.conversations("ada")
        # Gradio would go on in the conversation of that tab.
        stolen = {"fn_index": 0, "data": event, "session_hash": "tab-of-ada"}
        assert ana.post("/gradio_api/queue/join", json=stolen).status_code == 404
        assert send_event(ana, "ask", event, "tab-of-ana")["success"]
        assert len(context.store.turns(conversation["conversation_id"])) == 1
        assert len(context.store.conversations("ana")) == 1


# -- the wall ----------------------------------------------------------------------------------------------------------


def test_serving_to_the_network_needs_a_user_and_never_opens_again(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    context = make_context(tmp_path, manuals=False)
    with pytest.raises(UserError, match="emendo users add NAME --role admin"):
        serve(context, host="0.0.0.0")
    with TestClient(build_api(context, network=True), base_url="http://emendo.example") as client:
        assert client.get("/documents").status_code == 401, "the last user was removed while the server ran"


def test_without_users_only_this_machine_by_its_own_name(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    with TestClient(build_api(make_context(tmp_path, manuals=False)), base_url="http://127.0.0.1:7860") as client:
        assert client.get("/documents").status_code == 200
        assert client.get("/documents", headers={"host": "localhost:7860"}).status_code == 200
        assert client.get("/documents", headers={"host": "rebound.example:7860"}).status_code == 403
        other_site = {"origin": "http://evil.example"}
        assert client.post("/search", json={"query": "x"}, headers=other_site).status_code == 403
        assert client.post("/search", json={"query": "x"}, headers={"origin": "http://127.0.0.1:7860"}).status_code == 200


def test_a_body_that_goes_on_past_the_limit_is_cut_off(site: tuple[ServeContext, str]) -> None:
    context, url = site
    headers = {"Authorization": f"Bearer {context.accounts.new_token('ada')}", "content-type": "application/json"}
    chunks = (b"x" * 2**20 for _ in range(6))  # without a Content-Length
    assert httpx.post(f"{url}/search", content=chunks, headers=headers, timeout=60).status_code == 413


def test_every_page_forbids_other_hosts_and_frames(site: tuple[ServeContext, str]) -> None:
    _, url = site
    for path in ("/login", "/docs", "/healthz", "/documents"):
        headers = httpx.get(f"{url}{path}").headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy
        assert "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"


# -- the pages' handlers -----------------------------------------------------------------------------------------------


@pytest.fixture
def sign_in(tmp_path: Path) -> Iterator[tuple[ServeContext, object]]:
    """A context with users, and who is signed in on the page: `sign_in("ana")`."""
    context = make_context(tmp_path)
    for name, role in (("ada", "admin"), ("ana", "asker"), ("ben", "asker")):
        context.accounts.add(name, role, PASSWORD)
    before = LocalContext.request.get(None)
    yield context, lambda name: LocalContext.request.set(gr.Request(username=name))
    LocalContext.request.set(before)


def test_a_page_shows_a_user_nothing_of_another(sign_in) -> None:  # type: ignore[no-untyped-def]
    context, become = sign_in
    with gr.Blocks(analytics_enabled=False):
        page = ChatPage(context)
    become("ana")
    list(page.ask(QUESTION, "", ALL_PRODUCTS))
    [row] = context.store.conversations("ana")
    conversation_id = row["conversation_id"]
    [answer] = context.store.turns(conversation_id)
    become("ben")
    assert page.conversations.find("", "").choices == []
    for forbidden in (
        lambda: page.open(conversation_id),
        lambda: list(page.ask("And the lamp?", conversation_id, ALL_PRODUCTS)),
        lambda: page.conversations.rename_to(conversation_id, "Mine"),
        lambda: page.editor.open(answer.answer_id),
        lambda: page.editor.record(answer.answer_id, "Wrong.", [], False, "wrong"),
        lambda: page.evidence.turn_page(answer.answer_id, SimpleNamespace(_data={"hit": 0, "page": 0})),
    ):
        with pytest.raises(gr.Error, match=r"no (conversation|answer) "):
            forbidden()
    assert [row["title"] for row in context.store.conversations("ana")] == [QUESTION]
    become("")
    with pytest.raises(gr.Error, match="sign in again"):
        page.greet()


def test_an_asker_neither_reviews_nor_changes_documents(sign_in, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    context, become = sign_in
    with gr.Blocks(analytics_enabled=False):
        documents, corrections = DocumentsPage(context), CorrectionsPage(context)
    (tmp_path / "pan.md").write_text("# Pan\n")
    become("ana")
    for forbidden in (
        lambda: list(documents.index_files([str(tmp_path / "pan.md")], "")),
        lambda: documents.delete_document("lamp"),
        lambda: corrections.approve_one(1, "open"),
    ):
        with pytest.raises(gr.Error, match="needs the role reviewer; yours is asker"):
            forbidden()
    assert len(context.documents()) == 2
    assert corrections.show("open")[0].choices == []  # of others' corrections nothing is shown
