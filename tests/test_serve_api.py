"""The HTTP API over a real server: OpenAI's and LangChain's clients unchanged, documents, search, feedback, corrections."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_site import add_users, running

from serve.session import ServeContext, ServeSettings

QUESTION = "How long does the battery of the kettle last?"
ANSWER = "The battery of the kettle lasts 40 hours. [1]"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServeContext, str]]:
    with running(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture
def api(site: tuple[ServeContext, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site[1], timeout=60) as client:
        yield client


def ask(api: httpx.Client, question: str = QUESTION, **more: object) -> httpx.Response:
    return api.post("/v1/chat/completions", json={"model": "emendo", "messages": [{"role": "user", "content": question}], **more})


def test_openais_client_works_unchanged(site: tuple[ServeContext, str]) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{site[1]}/v1", api_key="unused", max_retries=0) as client:
        assert "emendo" in [model.id for model in client.models.list()]
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
        reply = client.chat.completions.create(model="emendo", messages=messages, temperature=0.5, max_tokens=20)
        assert reply.choices[0].message.content == ANSWER
        assert reply.choices[0].finish_reason == "stop"
        assert reply.usage.total_tokens > 0
        [citation] = reply.model_extra["citations"]
        assert (citation["title"], citation["pages"], citation["supported"]) == ("Battery", [1, 2], True)
        assert citation["also_in"] == []

        stream = client.chat.completions.create(
            model="emendo", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
        assert chunks[-1].usage.completion_tokens > 0
        [last] = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
        assert last.model_extra["citations"][0]["quote"] in ANSWER

        embedded = client.embeddings.create(model="any", input=["battery", "lamp"])  # the client asks for base64
        plain = client.embeddings.create(model="any", input="battery", encoding_format="float")
        assert embedded.data[0].embedding == pytest.approx(plain.data[0].embedding)
        assert sum(x * x for x in plain.data[0].embedding) == pytest.approx(1, abs=1e-3)
        with pytest.raises(openai.NotFoundError, match="no model 'gpt-4o'"):
            client.chat.completions.create(model="gpt-4o", messages=messages)


def test_openais_client_raises_the_errors_it_knows(tmp_path: Path) -> None:
    openai = pytest.importorskip("openai")
    with running(tmp_path, settings=ServeSettings(answers_at_once=1, most_waiting=0)) as (context, url):
        token = add_users(context.accounts)["ben"]["Authorization"].removeprefix("Bearer ")
        messages = [{"role": "user", "content": QUESTION}]

        def ask(key: str = token, **more: Any) -> Any:
            with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
                return list(client.chat.completions.create(**({"model": "emendo", "messages": messages} | more)))

        with pytest.raises(openai.AuthenticationError, match="send a token"):
            ask("emendo_wrong")
        with pytest.raises(openai.NotFoundError, match="GET /v1/models lists them"):
            ask(model="gpt-4o")
        with pytest.raises(openai.BadRequestError, match="99999 characters; at most 4000 are read"):
            ask(messages=[{"role": "user", "content": "word " * 20_000}])
        context.queue.at_once = 0  # whoever asks now finds the line full
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError, match="waiting already"):
                ask(stream=stream)
        context.queue.at_once = 1
        first, *_, last = ask(stream=True)
        assert first.id == last.id
        assert last.model_extra["citations"][0]["pages"] == [1, 2]
        assert last.model_extra["emendo"]["text"] == ANSWER


def test_langchains_client_works_unchanged(site: tuple[ServeContext, str]) -> None:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(base_url=f"{site[1]}/v1", api_key="unused", model="emendo", max_retries=0)
    assert model.invoke(QUESTION).content == ANSWER
    assert "".join(str(piece.content) for piece in model.stream(QUESTION)) == ANSWER


def test_the_models_name_chooses_what_is_searched(api: httpx.Client) -> None:
    names = [model["id"] for model in api.get("/v1/models").json()["data"]]
    assert names == ["emendo", "emendo/Battery", "emendo/Lumo lamp"]
    reply = ask(api, model="emendo/Lumo lamp").json()
    stored = api.get(f"/answers/{reply['emendo']['answer_id']}").json()
    assert {hit["chunk"]["product"] for hit in stored["hits"]} == {"Lumo lamp"}
    assert api.get("/v1/models/emendo/Lumo lamp").json()["id"] == "emendo/Lumo lamp"
    assert ask(api, model="emendo/Toaster").status_code == 404
    assert ask(api, model="emendo@a1b2").json()["error"]["message"] == "no adapter 'a1b2'; known: base"
    assert ask(api, model="emendo@base").json()["choices"][0]["message"]["content"] == ANSWER


def test_earlier_turns_are_read_as_history(api: httpx.Client) -> None:
    messages = [
        {"role": "user", "content": "How do I clean the lamp?"},
        {"role": "assistant", "content": "Wipe the shade with a dry cloth. [1]"},
        {"role": "user", "content": [{"type": "text", "text": "And its bulb?"}]},
    ]
    reply = api.post("/v1/chat/completions", json={"model": "emendo", "messages": messages}).json()
    assert reply["emendo"]["standalone"] == "How do I clean the lamp? And its bulb?"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"messages": [{"role": "user", "content": " "}]}, "the question is empty"),
        ({"messages": [{"role": "user", "content": "word " * 20_000}]}, "at most 4000 are read"),
        ({"messages": [{"role": "assistant", "content": "Hello"}]}, "last message must be the user's"),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": "hello"}, "messages: "),
        ({}, "messages: Field required"),
    ],
)
def test_a_bad_request_is_told_in_openais_form(api: httpx.Client, body: dict[str, object], told: str) -> None:
    for stream in (False, True):
        reply = api.post("/v1/chat/completions", json={"model": "emendo", "stream": stream, **body})
        assert reply.status_code == 400
        assert told in reply.json()["error"]["message"]


def test_binary_and_broken_bodies_are_refused(api: httpx.Client) -> None:
    for content in (b"\x00\xff\xfe binary", b'{"messages": [', b"[]"):
        reply = api.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
        assert reply.status_code == 400
        assert reply.json()["error"]["type"] == "invalid_request_error"


def test_documents_come_answer_and_go(api: httpx.Client, site: tuple[ServeContext, str]) -> None:
    files = [
        ("files", ("../../pan.md", b"# Pan\n\nNever heat the pan dry.\n")),
        ("files", ("broken.pdf", b"%PDF-1.7 nothing")),
        ("files", ("run.exe", b"MZ")),
    ]
    good, broken, wrong = api.post("/documents", files=files, data={"product": "Pan"}).json()
    assert good["added"] == 1
    assert "broken.pdf" in broken["error"]
    assert "expected a manual" in wrong["error"]
    kept = site[0].workspace.sources
    assert (kept / "pan.md").is_file()
    assert not (kept / "broken.pdf").exists()
    [doc_id] = [row["doc_id"] for row in api.get("/documents").json() if row["product"] == "Pan"]
    assert "dry" in ask(api, "May I heat the pan dry?").json()["choices"][0]["message"]["content"]
    assert api.get(f"/documents/{doc_id}").json()["chunks"][0]["text"] == "Never heat the pan dry."
    assert api.delete(f"/documents/{doc_id}").json() == {"deleted": doc_id}
    assert not (kept / "pan.md").exists()
    assert api.get(f"/documents/{doc_id}").status_code == 404
    assert "pan" not in str(api.post("/search", json={"query": "heat the pan dry"}).json()).lower().replace("company", "")


def test_too_much_is_refused_before_it_is_read(api: httpx.Client) -> None:
    connection = http.client.HTTPConnection(api.base_url.host, api.base_url.port, timeout=60)
    connection.putrequest("POST", "/documents")
    connection.putheader("Content-Length", str(300 * 2**20))
    connection.endheaders()  # the body never comes
    reply = connection.getresponse()
    assert reply.status == 413
    assert b"at most 201 MB" in reply.read()
    connection.close()
    files = [("files", (f"{n}.md", b"# A\n")) for n in range(101)]
    assert api.post("/documents", files=files).json()["error"]["message"].startswith("101 files at once")


def test_a_page_of_a_document_is_an_image_and_no_other_path_leads_to_it(api: httpx.Client) -> None:
    from PIL import Image

    chunk = api.get("/documents/kettle").json()["chunks"][0]
    image = api.get("/documents/kettle/pages/1", params={"chunk_id": chunk["chunk_id"]})
    assert image.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(image.content)).size == (900, 675)
    assert api.get("/documents/kettle/pages/3").status_code == 404
    assert api.get("/documents/lamp/pages/1").status_code == 404
    assert api.get("/documents/..%2F..%2Femendo.db/pages/1").status_code == 404


def test_search_gives_passages_with_their_scores(api: httpx.Client) -> None:
    first, *_ = api.post("/search", json={"query": "replace the bulb", "k": 2}).json()
    assert first["chunk"]["section"] == ["Lumo lamp", "Replacing the bulb"]
    assert "lexical_rank" in first["stages"]
    assert "no product 'Toaster'" in api.post("/search", json={"query": "bulb", "product": "Toaster"}).json()["error"]["message"]


def test_an_answer_is_rated_corrected_and_the_correction_judged(api: httpx.Client, site: tuple[ServeContext, str]) -> None:
    store = site[0].store
    answer_id = ask(api).json()["emendo"]["answer_id"]
    for rating in ("down", "up"):
        assert api.post("/feedback", json={"answer_id": answer_id, "rating": rating}).status_code == 201
    assert [row["rating"] for row in store.ratings() if row["answer_id"] == answer_id] == [1]
    [hit] = [h for h in api.get(f"/answers/{answer_id}").json()["hits"] if "40 hours" in h["chunk"]["text"]]
    given = {"answer_id": answer_id, "corrected": "It lasts 40 hours.", "evidence": [hit["chunk"]["chunk_id"]]}
    made = api.post("/corrections", json=given).json()
    assert made["status"] == "open"
    assert api.patch(f"/corrections/{made['number']}", json={"status": "approved"}).status_code == 200
    [row] = [r for r in api.get("/corrections", params={"status": "approved"}).json() if r["number"] == made["number"]]
    assert row["corrected"] == "It lasts 40 hours. [1]"
    assert api.patch("/corrections/999", json={"status": "approved"}).status_code == 404
    assert api.post("/corrections", json={**given, "corrected": ANSWER}).status_code == 400  # changes nothing
    assert api.post("/corrections", json={**given, "evidence": ["other"]}).status_code == 400


def test_health_and_metrics(api: httpx.Client) -> None:
    ask(api)
    assert api.get("/healthz").json()["status"] == "ok"
    assert api.get("/readyz").json() == {"status": "ready", "documents": 2}
    text = api.get("/metrics").text
    assert 'emendo_answers_total{outcome="answered",surface="api"}' in text
    assert 'emendo_requests_total{method="POST",route="/v1/chat/completions",status="200"}' in text
    assert "emendo_queue_running 0.0" in text
    assert "process_resident_memory_bytes" in text


def test_the_documentation_asks_no_other_host(api: httpx.Client) -> None:
    page = api.get("/docs").text
    assert "http" not in page.replace("https://swagger.io", "")
    for path in ("/docs-static/swagger-ui-bundle.js", "/docs-static/swagger-ui.css", "/favicon.ico"):
        assert path in page
        assert api.get(path).status_code == 200
    described = json.loads(api.get("/openapi.json").text)["paths"]
    assert {"/v1/chat/completions", "/documents", "/search", "/feedback", "/corrections", "/metrics"} <= set(described)


def test_without_a_document_a_question_says_what_to_do(tmp_path: Path) -> None:
    with running(tmp_path, manuals=False) as (_, url):
        reply = httpx.post(f"{url}/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hello?"}]})
        assert reply.status_code == 400
        assert "No manual is indexed yet" in reply.json()["error"]["message"]
        assert httpx.get(f"{url}/readyz").json() == {"status": "ready", "documents": 0}
