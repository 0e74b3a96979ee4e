"""What people do to a running app that it must survive: a clear message, nothing lost, no stuck queue."""

from __future__ import annotations

import html
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from fastapi.testclient import TestClient
from running_site import running
from small_bot import make_context
from test_serve_learning import held
from test_serve_load import QUESTION, SlowChatModel, asked_on_the_page, wait_until

from emendo.accounts import User
from emendo.records import Answer
from serve.api import build_api
from serve.pages.chat import ChatPage
from serve.pages.documents import DocumentsPage
from serve.pages.tune import TunePage
from serve.session import ServeContext, ServeSettings
from serve.uploads import add_uploads


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServeContext, str]]:
    """Takes files of 1 MB at most."""
    with running(tmp_path_factory.mktemp("site"), settings=ServeSettings(max_file_mb=1)) as found:
        yield found


def last_of(lines: Iterator[str]) -> dict[str, Any]:
    """How the event of a page ended."""
    return dict(json.loads(next(line for line in lines if "process_completed" in line).removeprefix("data: ")))


def still_answers(url: str) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}]}
    reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
    assert "40 hours" in reply["choices"][0]["message"]["content"]
    text = httpx.get(f"{url}/metrics").text
    assert "emendo_queue_running 0.0" in text
    assert "emendo_queue_waiting 0.0" in text


@pytest.mark.parametrize("path", ["/documents", "/gradio_api/upload"])
@pytest.mark.parametrize("length_told", [True, False])
def test_a_file_that_is_too_large_is_refused(site: tuple[ServeContext, str], path: str, length_told: bool) -> None:
    context, url = site
    before = sorted(context.workspace.root.rglob("*"))
    piece = b"--x\r\ncontent-disposition: form-data; name=files; filename=a.md\r\n\r\n" + b"a" * 2**20
    headers = {"content-type": "multipart/form-data; boundary=x"}
    if length_told:
        headers["content-length"] = str(3 * len(piece))
    try:
        reply = httpx.post(f"{url}{path}", content=iter([piece] * 3), headers=headers, timeout=60)
    except httpx.WriteError:  # the answer came, and the connection was closed, before all was sent
        assert length_told
    else:
        assert reply.status_code == 413
        assert "taken at once" in reply.text or "maximum allowed size" in reply.text
    assert sorted(context.workspace.root.rglob("*")) == before
    still_answers(url)


def test_many_files_at_once_have_a_row_each(site: tuple[ServeContext, str]) -> None:
    context, url = site
    texts = [(f"pan{n}.md", f"# Pan {n}\n\nPan {n} holds {n + 1} litres.\n") for n in range(12)]
    files = [("files", (name, text.encode())) for name, text in [*texts, ("pan1.md", "# Other"), ("pan.exe", "")]]
    *rows, same, wrong = httpx.post(f"{url}/documents", files=files, timeout=300).json()
    assert [(row["file"], row["added"]) for row in rows] == [(name, 1) for name, _ in texts]
    assert same["error"] == "pan1.md: another file of this upload has the same name; rename one"
    assert "expected a manual" in wrong["error"]
    assert len(context.documents()) == 14
    with gr.Blocks(analytics_enabled=False):
        (told, _), *_ = DocumentsPage(context).index_files(["a.md"] * 101, "")
    assert "101 files at once; at most 100" in told
    assert not list(context.workspace.sources.glob(".*"))
    still_answers(url)


KILLED = """
import os, signal, sys
sys.path.insert(0, "tests")
from pathlib import Path
from emendo.accounts import User
from serve.uploads import add_uploads
from small_bot import make_context

root = Path(sys.argv[1])
context = make_context(root, manuals=False)
context.reload()
(root / "1").write_text("# Pan")
(root / "2").write_bytes(b"%PDF-1.7 nothing")
indexing = add_uploads(context, [(root / "1", "pan.md"), (root / "2", "kettle.pdf")], User("rita", "admin"))
next(indexing)
os.killpg(0, signal.SIGKILL)
"""


def test_an_upload_cut_off_by_a_kill_can_be_sent_again_and_its_former_version_stays(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    sources = make_context(tmp_path).workspace.sources
    former = (sources / "kettle.pdf").read_bytes()
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, cwd=root, check=False, start_new_session=True).returncode == -signal.SIGKILL
    assert (sources / "kettle.pdf").read_bytes() != former
    context = make_context(tmp_path, manuals=False)
    context.reload()
    (tmp_path / "pan").write_text("# Pan\n\nNever heat it dry.\n")
    *_, (_, end) = add_uploads(context, [(tmp_path / "pan", "pan.md")], User("rita", "reviewer"))
    assert isinstance(end, dict), f"her own upload is not refused to her: {end}"
    assert (sources / "kettle.pdf").read_bytes() == former
    assert sorted(path.name for path in sources.iterdir()) == ["kettle.pdf", "lamp.md", "pan.md"]


def test_an_upload_waits_for_another_and_a_deletion_says_so(site: tuple[ServeContext, str], tmp_path: Path) -> None:
    context, url = site
    (tmp_path / "pot.md").write_text("# Pot\n\nThe pot holds 3 litres.\n", encoding="utf-8")
    with gr.Blocks(analytics_enabled=False):
        adding = DocumentsPage(context).index_files([str(tmp_path / "pot.md")], "")
    with context.indexing:
        next(adding)
        assert "waiting for another upload" in next(adding)[0]
        refused = httpx.delete(f"{url}/documents/lamp", timeout=60)
    *_, (told, _) = adding
    assert "pot.md: 1 document added" in told
    assert refused.status_code == 409
    assert "manuals are being added" in refused.json()["error"]["message"]
    assert "lamp" in {document.doc_id for document in context.documents()}


def test_a_question_of_twenty_thousand_words_is_refused_with_its_length(site: tuple[ServeContext, str]) -> None:
    context, url = site
    with asked_on_the_page(url, "word " * 20_000) as lines:
        ended = last_of(lines)
    assert not ended["success"]
    assert "99999 characters; at most 4000 are read" in ended["output"]["error"]
    assert context.store.conversations() == []
    still_answers(url)


@pytest.mark.parametrize("junk", ["\x00\x01\x7f", "\ud83d"])
def test_binary_in_a_question_is_left_out(site: tuple[ServeContext, str], junk: str) -> None:
    context, url = site
    with asked_on_the_page(url, f"{junk}{QUESTION}\x00", f"tab {len(junk)}") as lines:
        assert last_of(lines)["success"]
    (row,) = context.store.conversations()
    (answer,) = context.store.turns(row["conversation_id"])
    assert answer.question == row["title"] == QUESTION
    assert "40 hours" in answer.text
    context.store.delete_conversation(row["conversation_id"])
    with asked_on_the_page(url, junk, "only junk") as lines:
        assert "Type a question first" in str(last_of(lines))
    sent = {"messages": [{"role": "user", "content": f"\x00{QUESTION}"}]}
    assert httpx.post(f"{url}/v1/chat/completions", json=sent, timeout=60).status_code == 200
    for path, body in (("/search", {"query": junk}), ("/v1/embeddings", {"input": junk}), ("/v1/chat/completions", sent)):
        whole = json.dumps(body | {"model": junk})
        reply = httpx.post(url + path, content=whole, headers={"content-type": "application/json"}, timeout=60)
        assert reply.status_code < 500
    assert context.store.conversations() == []


@pytest.mark.parametrize("half", ["\ud83d", "a" * 65])
@pytest.mark.parametrize("path", ["/feedback", "/corrections"])
def test_ids_and_texts_that_no_database_takes_are_refused(site: tuple[ServeContext, str], path: str, half: str) -> None:
    _, url = site
    good = {"answer_id": "a", "rating": "up", "corrected": "Yes.", "comment": "", "evidence": ["c"]}
    for broken in ({"answer_id": half}, {"evidence": [half]}, {"corrected": half * 400}, {"comment": half * 400}):
        body = json.dumps(good | broken)
        reply = httpx.post(url + path, content=body, headers={"content-type": "application/json"}, timeout=60)
        assert reply.status_code in (400, 404), "404: there is no answer a, and this route does not read the field"
        assert reply.json()["error"]["message"]


@pytest.mark.parametrize("number", ["0", "9" * 25, "-" + "9" * 25, "x"])
def test_a_number_that_no_correction_can_have_is_refused(site: tuple[ServeContext, str], number: str) -> None:
    reply = httpx.patch(f"{site[1]}/corrections/{number}", json={"status": "approved"}, timeout=60)
    assert reply.status_code in (400, 404)
    assert reply.json()["error"]["message"]


def test_names_of_files_are_made_fit_or_refused(site: tuple[ServeContext, str]) -> None:
    context, url = site
    text = b"# Fan\n\nThe fan has 3 speeds.\n"
    names = ["n" * 300 + ".md", "\u00fc" * 120 + ".md", "fan\x01\x02.md"]
    *long, odd = httpx.post(f"{url}/documents", files=[("files", (name, text)) for name in names], timeout=300).json()
    assert all("the name has more than 200 bytes; rename the file" in row["error"] for row in long)
    assert odd["added"] == 1
    (fan,) = [document for document in context.documents() if document.title == "Fan"]
    assert fan.source.isprintable()
    assert httpx.delete(f"{url}/documents/{fan.doc_id}", timeout=60).status_code == 200


def test_a_fault_nobody_foresaw_is_told_in_openais_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = make_context(tmp_path)
    monkeypatch.setattr(context.store, "owner_of_answer", lambda _: 1 / 0)
    with TestClient(build_api(context), base_url="http://127.0.0.1", raise_server_exceptions=False) as api:
        reply = api.get("/answers/a")
    assert reply.status_code == 500
    assert reply.json()["error"]["type"] == "server_error"
    assert "division" not in reply.text


def test_a_page_of_noise_is_answered_like_any_question(site: tuple[ServeContext, str]) -> None:
    _, url = site
    noise = bytes(range(256)).decode("latin-1") * 10
    reply = httpx.post(f"{url}/v1/chat/completions", json={"messages": [{"role": "user", "content": noise}]}, timeout=60)
    assert reply.status_code == 200
    still_answers(url)


def test_tuning_started_twice_says_so(site: tuple[ServeContext, str]) -> None:
    context, _ = site
    with gr.Blocks(analytics_enabled=False):
        page = TunePage(context)
    context.tuning.start("tune", context.tuned)
    with held(context.tuning), pytest.raises(gr.Error, match="under way already"):
        page.begin("tune")
    wait_until(lambda: not context.tuning.state().running, 60)


def test_a_document_deleted_in_the_middle_of_an_answer_costs_that_answer_nothing(tmp_path: Path) -> None:
    with running(tmp_path, SlowChatModel(otherwise="The battery lasts 40 hours. [1]")) as (context, url):
        with asked_on_the_page(url, QUESTION) as lines:
            next(line for line in lines if "battery" in line)
            assert httpx.delete(f"{url}/documents/kettle", timeout=60).status_code == 200
            assert last_of(lines)["success"]
        (row,) = context.store.conversations()
        (answer,) = context.store.turns(row["conversation_id"])
        assert answer.text == "The battery lasts 40 hours. [1]"
        assert answer.citations[0].doc_id == "kettle"
        with gr.Blocks(analytics_enabled=False):
            page = ChatPage(context)
        shown = page.open(row["conversation_id"])
        assert "40 hours" in html.unescape(shown[page.evidence.sources])
        assert "not where it was indexed from" in page.evidence.turn_page(answer.answer_id, gr.EventData(None, {"hit": 0}))
        *_, later = context.answer(QUESTION, [answer])
        assert isinstance(later, Answer)
        assert {hit.chunk.doc_id for hit in later.hits} == {"lamp"}
