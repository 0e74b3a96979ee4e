"""The two-user matrix: every route of the running app, for who owns the thing asked for, for other users, and for nobody.

The routes are taken from the app itself: one without a rule here fails the test, Gradio's own among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_site import add_users, running
from starlette.routing import Mount

from serve.app import build_site
from serve.session import ServeContext

QUESTION = "How long does the battery of the kettle last?"
WHO = ("owner", "other", "reviewer", "admin", "nobody")
NAMES = {"owner": "ana", "other": "ben", "reviewer": "rita", "admin": "ada"}
ALL, OWNER = (200, 200, 200, 200, 401), (200, 404, 404, 404, 401)
PUBLIC = (200,) * 5
MADE, OWNER_MADE = (201, 201, 201, 201, 401), (201, 404, 404, 404, 401)
CHAT = {"model": "emendo", "messages": [{"role": "user", "content": QUESTION}]}
RULES: dict[tuple[str, str], tuple[tuple[int, ...], dict[str, Any]]] = {
    ("GET", "/healthz"): (PUBLIC, {}),
    ("GET", "/readyz"): (PUBLIC, {}),
    ("GET", "/docs"): (PUBLIC, {}),
    ("GET", "/docs/oauth2-redirect"): (PUBLIC, {}),
    ("GET", "/docs-static/"): ((404,) * 5, {}),  # its files are public, the folder is not listed
    ("GET", "/openapi.json"): (PUBLIC, {}),
    ("HEAD", "/openapi.json"): (PUBLIC, {}),
    ("GET", "/login"): (PUBLIC, {}),
    ("POST", "/login"): ((303,) * 5, {"data": {"name": "ana", "password": "wrong"}}),
    ("POST", "/logout"): ((303, 303, 303, 303, 401), {}),
    ("GET", "/metrics"): ((403, 403, 403, 200, 401), {}),
    ("GET", "/v1/models"): (ALL, {}),
    ("GET", "/v1/models/{name:path}"): (ALL, {"name:path": "emendo"}),
    ("POST", "/v1/chat/completions"): (ALL, {"json": CHAT}),
    ("POST", "/v1/embeddings"): (ALL, {"json": {"input": "kettle"}}),
    ("POST", "/search"): (ALL, {"json": {"query": "kettle"}}),
    ("GET", "/documents"): (ALL, {}),
    ("GET", "/documents/{doc_id}"): (ALL, {"doc_id": "kettle"}),
    ("GET", "/documents/{doc_id}/pages/{page}"): (ALL, {"doc_id": "kettle", "page": "1"}),
    ("POST", "/documents"): ((403, 403, 200, 200, 401), {"files": {"files": ("run.exe", b"MZ")}}),
    ("DELETE", "/documents/{doc_id}"): ((403, 403, 403, 200, 401), {"doc_id": "lamp"}),
    ("GET", "/answers/{answer_id}"): (OWNER, {}),
    ("POST", "/feedback"): (OWNER_MADE, {"json": {"rating": "up"}}),
    ("GET", "/corrections"): (ALL, {}),
    ("POST", "/corrections"): (OWNER_MADE, {"json": {"corrected": "Forty hours."}}),
    ("PATCH", "/corrections/{number}"): ((403, 403, 200, 200, 401), {"number": "1", "json": {"status": "rejected"}}),
    ("GET", "/corrections/export"): ((403, 403, 200, 200, 401), {}),
    ("GET", "/conversations/{conversation_id}/export"): (OWNER, {}),
    ("GET", "/reports/{run}"): ((403, 403, 200, 200, 401), {"run": "r1"}),
    # Gradio's pages
    ("GET", "/"): (ALL, {}),
    ("HEAD", "/"): (ALL, {}),
    ("GET", "/config"): (ALL, {}),
    ("GET", "/manifest.json"): (ALL, {}),
    ("GET", "/pwa_icon"): (ALL, {}),
    ("GET", "/theme.css"): (PUBLIC, {}),
    ("GET", "/favicon.ico"): (PUBLIC, {}),
    ("GET", "/robots.txt"): (PUBLIC, {}),
    ("GET", "/assets/{path:path}"): ((404,) * 5, {"path:path": "none.js"}),
    ("GET", "/static/{path:path}"): ((404,) * 5, {"path:path": "none.png"}),
    ("GET", "/logout"): ((302, 302, 302, 302, 401), {}),
    ("GET", "/gradio_api/info"): (ALL, {}),
    ("GET", "/gradio_api/info/"): (ALL, {}),
    ("GET", "/gradio_api/app_id"): (ALL, {}),
    ("GET", "/gradio_api/app_id/"): (ALL, {}),
    ("GET", "/gradio_api/startup-events"): (ALL, {}),
    ("GET", "/gradio_api/heartbeat/{session_hash}"): (OWNER, {"session_hash": "abc"}),
    ("GET", "/gradio_api/queue/data"): (OWNER, {"params": {"session_hash": "abc"}}),
    ("POST", "/gradio_api/queue/join"): ((422, 422, 422, 422, 401), {}),
    ("GET", "/gradio_api/upload_progress"): ((422, 422, 422, 422, 401), {}),
    ("POST", "/gradio_api/upload"): (ALL, {"files": {"files": ("pan.md", b"# Pan")}}),
    ("POST", "/gradio_api/cancel"): ((422, 422, 422, 422, 401), {}),
    ("POST", "/gradio_api/reset"): ((422, 422, 422, 422, 401), {}),
    ("POST", "/gradio_api/reset/"): ((422, 422, 422, 422, 401), {}),
}
# Closed to everybody: Gradio's file cache, its own API beside ours, its proxy, recordings and developer's tools.
CLOSED = """
GET /config/ | GET /gradio_api/call/{api_name}/{event_id} | GET /gradio_api/call/v2/{api_name}/{event_id}
GET /gradio_api/custom_component/{id}/{environment}/{type}/{file_name} | GET /gradio_api/deep_link | GET /gradio_api/dev/reload
GET /gradio_api/file/{path:path} | GET /gradio_api/file={path_or_url:path} | HEAD /gradio_api/file={path_or_url:path}
GET /gradio_api/login_check | GET /gradio_api/login_check/ | GET /gradio_api/openapi.json
GET /gradio_api/proxy={url_path:path} | HEAD /gradio_api/proxy={url_path:path} | GET /gradio_api/queue/status
GET /gradio_api/runs | GET /gradio_api/runs/ | GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file
GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8 | GET /gradio_api/theme.css
GET /gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext} | GET /gradio_api/token | GET /gradio_api/token/
GET /gradio_api/user | GET /gradio_api/user/ | GET /gradio_api/vibe-code | GET /gradio_api/vibe-code/
GET /monitoring | GET /monitoring/summary | GET /monitoring/{key} | GET /pwa_icon/{size}
GET /svelte/{path:path} | POST /gradio_api/api/{api_name} | POST /gradio_api/api/{api_name}/ | POST /gradio_api/call/{api_name}
POST /gradio_api/call/{api_name}/ | POST /gradio_api/call/v2/{api_name} | POST /gradio_api/call/v2/{api_name}/
POST /gradio_api/component_server | POST /gradio_api/component_server/ | POST /gradio_api/process_recording
POST /gradio_api/run/{api_name} | POST /gradio_api/run/{api_name}/ | POST /gradio_api/stream/{event_id}
POST /gradio_api/stream/{event_id}/close | POST /gradio_api/undo-vibe-edit | POST /gradio_api/undo-vibe-edit/
POST /gradio_api/vibe-code | POST /gradio_api/vibe-code/ | POST /gradio_api/vibe-edit | POST /gradio_api/vibe-edit/
POST /gradio_api/vibe-starter-queries | POST /gradio_api/vibe-starter-queries/ | POST /login/
"""
CLOSED_ROUTES = {tuple(entry.split()) for line in CLOSED.strip().splitlines() for entry in line.split("|")}
Headers = dict[str, dict[str, str]]


def routes_of(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of every route, mounted apps and included routers unfolded."""
    for route in routes:
        if hasattr(route, "original_router"):  # FastAPI's included router
            yield from routes_of(route.original_router.routes, prefix)
        elif isinstance(route, Mount):
            inner = getattr(route.app, "routes", None)
            yield from routes_of(inner, prefix + route.path) if inner else [("GET", f"{prefix}{route.path}/")]
        else:
            yield from ((method, prefix + route.path) for method in route.methods)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServeContext, str, Headers, dict[str, str]]]:
    """(context, address, each user's headers, ids: an answer of each user's, ana's `conversation`)."""
    with running(tmp_path_factory.mktemp("site")) as (context, url):
        headers = add_users(context.accounts)
        answers = {}
        for name in NAMES.values():
            reply = httpx.post(f"{url}/v1/chat/completions", json=CHAT, headers=headers[name], timeout=60)
            answers[name] = reply.json()["emendo"]["answer_id"]
        answers["conversation"] = context.store.create_conversation("Kettle", "ana")
        (context.workspace.runs / "r1").mkdir(parents=True)
        (context.workspace.runs / "r1" / "report.html").write_text("<p>better</p>")
        given = {"answer_id": answers["ana"], "corrected": "It lasts 40 hours."}
        assert httpx.post(f"{url}/corrections", json=given, headers=headers["ana"]).json()["number"] == 1
        yield context, url, headers, answers


def status(url: str, method: str, path: str, headers: dict[str, str], **options: Any) -> int:
    """Of the reply's first line; what streams on and on is not read."""
    with (
        httpx.Client(timeout=60) as client,
        client.stream(method, f"{url}{path}", headers={**headers, "accept": "*/*"}, **options) as reply,
    ):
        return reply.status_code


def test_every_route_has_a_rule_and_no_rule_is_idle(site: tuple[ServeContext, str, Headers, dict[str, str]]) -> None:
    found = set(routes_of(build_site(site[0]).routes))
    assert found == set(RULES) | CLOSED_ROUTES, "a route without a rule: decide who may call it, then write it into this test"


@pytest.mark.parametrize(("method", "path"), RULES, ids=lambda part: part)
def test_each_user_gets_exactly_what_the_rule_says(
    site: tuple[ServeContext, str, Headers, dict[str, str]], method: str, path: str
) -> None:
    _, url, headers, answers = site
    expected, given = RULES[method, path]
    options = {key: value for key, value in given.items() if key in ("json", "data", "files", "params")}
    if path in ("/feedback", "/corrections") and method == "POST":
        options["json"] = {**options["json"], "answer_id": answers["ana"]}
    ids = {"answer_id": answers["ana"], "conversation_id": answers["conversation"]}
    for name, value in {**ids, **given}.items():
        path = path.replace("{" + name + "}", str(value))
    got = tuple(status(url, method, path, headers.get(NAMES.get(who, ""), {}), **options) for who in WHO)
    assert got == expected, dict(zip(WHO, got, strict=True))


def test_closed_routes_are_closed_to_everybody(site: tuple[ServeContext, str, Headers, dict[str, str]]) -> None:
    _, url, headers, _ = site
    for method, path in sorted(CLOSED_ROUTES):
        assert status(url, method, path, headers["ada"]) == 404, f"{method} {path}"
        assert status(url, method, path, {}) == 401, f"{method} {path}"


def test_another_users_upload_is_not_served_by_its_path(site: tuple[ServeContext, str, Headers, dict[str, str]]) -> None:
    _, url, headers, _ = site
    [path] = httpx.post(f"{url}/gradio_api/upload", files={"files": ("secret.md", b"# Secret")}, headers=headers["ana"]).json()
    assert Path(path).read_bytes() == b"# Secret"
    for name in ("ana", "ben", "ada"):
        assert httpx.get(f"{url}/gradio_api/file={path}", headers=headers[name]).status_code == 404


def test_who_uploaded_a_document_may_replace_and_delete_it(site: tuple[ServeContext, str, Headers, dict[str, str]]) -> None:
    context, url, headers, _ = site
    context.accounts.add("rob", "reviewer", "rob rob rob")
    rob = {"Authorization": f"Bearer {context.accounts.new_token('rob')}"}
    pan = {"files": ("pan.md", b"# Pan\n\nNever heat the pan dry.\n")}
    [added] = httpx.post(f"{url}/documents", files=pan, headers=headers["rita"], timeout=120).json()
    assert added["added"] == 1
    [refused] = httpx.post(f"{url}/documents", files=pan, headers=rob, timeout=60).json()
    assert "somebody else's document has this name" in refused["error"]
    [doc_id] = [row["doc_id"] for row in httpx.get(f"{url}/documents", headers=rob).json() if row["source"] == "pan.md"]
    assert httpx.delete(f"{url}/documents/{doc_id}", headers=rob).status_code == 403
    assert httpx.delete(f"{url}/documents/{doc_id}", headers=headers["rita"]).status_code == 200


def test_an_asker_sees_own_corrections_a_reviewer_all(site: tuple[ServeContext, str, Headers, dict[str, str]]) -> None:
    _, url, headers, _ = site
    seen = {name: len(httpx.get(f"{url}/corrections", headers=headers[name]).json()) for name in NAMES.values()}
    assert seen["ben"] == 0
    assert seen["ana"] == seen["rita"] == seen["ada"] > 0
