"""The app in a real browser: ask, see the source, correct; no console error, no request to another host."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_bot import MARKDOWN, make_context
from test_serve_learning import add_adapter
from test_serve_side_by_side import Model

from emendo.scripted_model import ScriptedChatModel
from serve.app import launch
from serve.session import ServeContext

CHROMIUM = shutil.which("chromium")
# What stands on each page once it is there.
PAGES = {
    "Chat": "#question textarea",
    "Documents": "#documents-table table",
    "Corrections": "#correction-detail .empty, #correction-detail .correction",
    "Tune": "#tune-data .note, #tune-data table",
    "Evaluation": "#report .empty, #report table",
    "Status": "#status-facts dl",
}
QUESTION = "How long does the battery of the kettle last?"
SWITCHES = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --no-first-run".split()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)")


class SlowChatModel(ScriptedChatModel):
    """Writes so slowly that a person can stop it."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for piece in super()._stream(*args, **kwargs):
            time.sleep(0.2)
            yield piece


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e .[dev])")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServeContext, str]]:
    """The running app over two small manuals, answered by quoting."""
    context = make_context(tmp_path_factory.mktemp("site"))
    app = launch(context, port=0)
    yield context, f"http://127.0.0.1:{app.port}"
    app.close()


def new_page(browser: Any, **options: Any) -> Any:
    page = browser.new_page(**options)
    page.set_default_timeout(120_000)  # milliseconds: a busy machine is no fault of the page
    return page


def open_page(browser: Any, url: str, width: int = 1280, dark: bool = False) -> tuple[Any, list[str]]:
    """A page, and the list that every console error, failed request and foreign request is added to.

    Nothing moves on it: what is half faded in or out has half its contrast.
    """
    colours = "dark" if dark else "light"
    page = new_page(browser, viewport={"width": width, "height": 840}, color_scheme=colours, reduced_motion="reduce")
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((url, "data:", "blob:")) else faults.append(request.url))
    page.on("response", lambda response: faults.append(f"{response.status} {response.url}") if response.status >= 400 else None)
    page.goto(url)
    wait_for_greeting(page)
    return page, faults


def wait_for_greeting(page: Any) -> None:
    page.get_by_text("How do I replace the bulb?").first.wait_for()  # an example question
    page.wait_for_selector("#question textarea:enabled")


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    page.wait_for_selector(PAGES[name])


def serious(page: Any) -> list[str]:
    """What axe-core finds that keeps people out: rule and element of each serious or critical violation."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_selector(".toast-body", state="detached")
    violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = [found for found in violations if found["impact"] in ("serious", "critical")]
    return [f"{found['id']}: {node['html']}" for found in grave for node in found["nodes"]]


def ask(page: Any, question: str) -> None:
    page.fill("#question textarea", question)
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-foot")


def test_ask_see_the_source_correct_it_in_three_clicks(site: tuple[ServeContext, str], browser: Any) -> None:
    context, url = site
    page, faults = open_page(browser, url)
    ask(page, QUESTION)
    assert "40 hours" in page.inner_text(".answer-text")
    assert "Supported by the manual · pp. 1–2" in page.inner_text(".answer-foot")
    page.wait_for_selector("#source-1")
    assert "40 hours" in page.inner_text("#source-1 .passage mark")

    page.click(".cite >> nth=0")
    assert "flash" in page.get_attribute("#source-1", "class")
    page.click("#source-1 .show-page")
    page.wait_for_selector(".page-view img")
    assert page.evaluate("document.querySelector('.page-view img').naturalWidth") == 900
    page.click(".page-view .enlarge")
    assert page.locator("#page-view").bounding_box()["width"] == 1280
    assert serious(page) == []
    page.keyboard.press("Escape")
    assert page.locator("#page-view").bounding_box()["width"] < 500
    page.set_viewport_size({"width": 1280, "height": 240})  # the whole page does not fit
    page.click(".page-view .enlarge")
    mark = "(image) => image.getBoundingClientRect().top + image.dataset.top * image.clientHeight"
    assert 40 < page.locator(".page-view img").evaluate(mark) < 160, "the quoted sentence is in sight"
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1280, "height": 840})

    page.click("#chat button[aria-label='Dislike']")  # first click
    page.wait_for_selector("#corrected textarea")
    assert serious(page) == []
    page.fill("#corrected textarea", "The battery lasts 40 hours.")
    page.click("#evidence-choice input >> nth=0")  # second
    number = len(context.store.corrections()) + 1
    page.click("#submit-correction")  # third
    page.get_by_text(f"Correction {number} recorded").wait_for()
    correction = dict(context.store.corrections("open"))[number]
    assert correction.corrected == "The battery lasts 40 hours. [1]"
    assert correction.question == QUESTION

    page.get_by_role("tab", name="Corrections").click()
    page.click(f"#correction-list label:has-text('{number} ·')")
    page.locator(".correction", has_text=f"No. {number} ·").locator("del").first.wait_for()
    page.click("#approve")
    page.get_by_text(f"Correction {number} is approved").wait_for()
    page.wait_for_selector(f"#correction-list label:has-text('{number} ·')", state="detached")
    assert number in dict(context.store.corrections("approved"))
    assert faults == []
    page.close()


def test_a_reload_shows_the_conversation_again(site: tuple[ServeContext, str], browser: Any) -> None:
    _, url = site
    page, faults = open_page(browser, url)
    ask(page, "What is the shade wiped with?")
    page.reload()
    wait_for_greeting(page)
    page.click("#conversation-list label:has-text('shade wiped')")
    page.wait_for_selector(".answer-foot")
    assert "dry cloth" in page.inner_text(".answer-text")
    # Leaving a page cancels the event streams it had open, and Gradio's client logs that.
    assert [fault for fault in faults if "AbortError" not in fault and "Connection errored out" not in fault] == []
    page.close()


def test_a_stopped_answer_is_kept_and_marked(browser: Any, tmp_path: Path) -> None:
    context = make_context(tmp_path, SlowChatModel(otherwise="word " * 200))
    app = launch(context, port=0)
    page, faults = open_page(browser, f"http://127.0.0.1:{app.port}")
    page.fill("#question textarea", QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-text.writing:has-text('word')")
    page.click("#question .stop-button")
    page.wait_for_selector(".badge.stopped")
    page.wait_for_selector(".writing", state="detached")
    page.wait_for_selector("#conversation-list label:has-text('battery of the kettle')")
    (row,) = context.store.conversations()
    (answer,) = context.store.turns(row["conversation_id"])
    assert answer.stopped
    assert answer.text.startswith("word")
    assert faults == []
    page.close()
    app.close()


def test_two_models_answer_side_by_side_and_the_question_is_edited(browser: Any, tmp_path: Path) -> None:
    context = make_context(tmp_path, Model(otherwise="Base [1]"))
    context.load_model = lambda adapter: Model(adapter_id=adapter, otherwise="Tuned [1]")
    add_adapter(context, "a1")
    app = launch(context, port=0)
    page, faults = open_page(browser, f"http://127.0.0.1:{app.port}")
    page.click("#model-choice input")
    page.get_by_role("option", name="Side by side").click()
    ask(page, QUESTION)
    page.wait_for_selector(".answer.right .answer-foot")
    left, right = (page.locator(f".answer.{side}").bounding_box() for side in ("left", "right"))
    assert left["x"] + left["width"] <= right["x"]
    assert abs(left["y"] - right["y"]) < 2
    page.click("#chat button[aria-label='Like'] >> nth=1")
    page.get_by_text("Adapter a1 is preferred").wait_for()
    page.click("#chat button[aria-label='Edit']")
    page.fill("#chat textarea", "How long does it last?")
    page.click("#chat button[aria-label='Submit']")
    page.wait_for_selector("#conversation-list label")
    page.locator("#chat .user").get_by_text("How long does it last?").wait_for()
    page.wait_for_selector("#question textarea:enabled")
    page.wait_for_selector(".answer.right .answer-foot")
    assert serious(page) == []

    context.store.promote("a1", "PROMOTE")
    context.reload()
    page.get_by_role("tab", name="Status").click()
    page.get_by_role("tab", name="Chat").click()
    page.wait_for_function("document.querySelector('#model-choice input').value === 'Adapter a1'")
    page.click("#model-choice input")
    page.get_by_role("option", name="Base model").wait_for()  # a1 serves, so its base can be chosen
    assert faults == []
    page.close()
    app.close()
    (row,) = context.store.conversations()
    assert [turn.question for turn in context.store.turns(row["conversation_id"])] == ["How long does it last?"] * 2


def test_first_run_add_a_manual_then_ask(browser: Any, tmp_path: Path) -> None:
    context = make_context(tmp_path / "workspace", manuals=False)
    (tmp_path / "lamp.md").write_text(MARKDOWN, encoding="utf-8")
    app = launch(context, port=0)
    page = new_page(browser)
    page.goto(f"http://127.0.0.1:{app.port}")
    page.get_by_role("button", name="Add a manual").click()
    page.locator("#documents-table").get_by_text("No document yet").wait_for()
    page.set_input_files("#add-documents input[type=file]", tmp_path / "lamp.md")
    page.wait_for_selector("#add-documents .file-preview")  # the upload has ended
    page.click("#add-files")
    page.locator("#documents-table").get_by_text("Lumo lamp").first.wait_for()
    page.get_by_role("tab", name="Chat").click()
    page.get_by_text("How do I replace the bulb?").click()  # an example question
    page.wait_for_selector(".answer-foot")
    assert "Switch the lamp off" in page.inner_text(".answer-text")
    page.close()
    app.close()


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False)])
def test_every_page_fits_and_keeps_nobody_out(site: tuple[ServeContext, str], browser: Any, width: int, dark: bool) -> None:
    _, url = site
    page, faults = open_page(browser, url, width, dark)
    ask(page, QUESTION)
    for name in PAGES:
        open_tab(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious(page) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in background[4:-1].split(",")) < 150) == dark
    assert faults == []
    page.close()


def test_ask_and_correct_with_the_keyboard_alone(site: tuple[ServeContext, str], browser: Any) -> None:
    context, url = site
    page, faults = open_page(browser, url)
    page.wait_for_function("document.activeElement.closest('#question') !== null")
    page.keyboard.type("How do I replace the bulb?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-foot")
    tab_to(page, "#correct")
    page.keyboard.press("Enter")
    page.wait_for_selector("#corrected textarea")
    tab_to(page, "#corrected textarea")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Let it cool first.")
    tab_to(page, "#evidence-choice input")
    page.keyboard.press("Space")
    tab_to(page, "#submit-correction")
    page.keyboard.press("Enter")
    page.get_by_text("recorded. It waits").wait_for()
    assert "Let it cool first. [1]" in [row.corrected for _, row in context.store.corrections()]
    assert faults == []
    page.close()


def tab_to(page: Any, selector: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(60):
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never comes to {selector}")


def test_tuning_is_started_and_its_end_is_told(browser: Any, tmp_path: Path) -> None:
    context = make_context(tmp_path)
    add_adapter(context, "a1", "REJECT")
    app = launch(context, port=0)
    page, faults = open_page(browser, f"http://127.0.0.1:{app.port}")
    open_tab(page, "Tune")
    page.click("#tune-start")
    page.get_by_text("no usable correction among 0").first.wait_for()

    open_tab(page, "Evaluation")
    page.wait_for_selector("#report table")
    assert page.is_disabled("#promote")
    page.click("#keep")
    page.locator("#promotions").get_by_text("KEPT").wait_for()
    assert context.store.promoted() == ""
    page.click("#overrule button")
    page.fill("#reason-given textarea, #reason-given input", "Customers wait for it")
    page.click("#force")
    page.locator("#promotions").get_by_text("Customers wait for it").wait_for()
    assert context.store.promoted() == "a1"
    page.click("#roll-back")
    page.locator("#promotions").get_by_text("ROLLBACK").wait_for()
    assert context.store.promoted() == ""
    assert faults == []
    page.close()
    app.close()
