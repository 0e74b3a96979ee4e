"""Many chats at once: one line for the model, batches across chats, readers that go away, and a kill in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_core.messages import HumanMessage
from running_site import add_users, running
from small_bot import make_context

from emendo.hf_model import HFChatModel, Request
from emendo.scripted_model import ScriptedChatModel
from emendo.store import Store
from emendo.text_stream import TextStream
from emendo.weights_lock import WeightsLock
from serve.batch_model import BatchedChatModel, _Line, batched
from serve.metrics import Metrics
from serve.queue import AnswerQueue, QueueFull, Waiting
from serve.render import answer_html

QUESTION = "How long does the battery of the kettle last?"
CHAT = {"model": "emendo", "messages": [{"role": "user", "content": QUESTION}]}


class SlowChatModel(ScriptedChatModel):
    """Writes a word every 50 ms, and counts the streams that are open."""

    open_now: list[int] = []  # noqa: RUF012  (a pydantic field, copied per instance)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        self.open_now.append(1)
        try:
            for piece in super()._stream(*args, **kwargs):
                time.sleep(0.05)
                yield piece
        finally:
            self.open_now.pop()


def wait_until(holds: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


# -- the line ----------------------------------------------------------------------------------------------------------


def test_who_waits_is_told_the_place_and_a_place_given_up_moves_the_others_up() -> None:
    line = AnswerQueue(at_once=1, most_waiting=2, metrics=Metrics())
    first, second, third = (line.answer(lambda: iter(["a", "b"]), "api") for _ in range(3))
    assert next(first) == "a"
    assert next(second) == Waiting(1)
    assert next(third) == Waiting(2)
    with pytest.raises(QueueFull, match="2 questions are waiting"):
        next(line.answer(lambda: iter(["a"]), "api"))
    second.close()  # the reader went away while it waited
    assert next(third) == Waiting(1)
    first.close()  # and in the middle of its answer
    assert list(third) == ["a", "b"]
    assert list(line.answer(lambda: iter(["c"]), "api")) == ["c"]


def test_a_failed_answer_frees_its_place() -> None:
    line = AnswerQueue(at_once=1, most_waiting=1, metrics=Metrics())

    def broken() -> Iterator[str]:
        raise RuntimeError("out of memory")
        yield ""

    with pytest.raises(RuntimeError):
        next(line.answer(broken, "api"))
    assert list(line.answer(lambda: iter(["a"]), "api")) == ["a"]


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> HFChatModel:
    return HFChatModel.load(str(tiny_model), bits="fp32", max_new_tokens=24)


def asked(n: int) -> list[HumanMessage]:
    """A prompt of its own length, with passages of its own to quote from."""
    passages = [f"Step {n}. Fill the kettle. Wait {n} minutes.", f"Lamp {n} blinks. Call the service."]
    return [HumanMessage(f"Question {n} " + "about the kettle " * n, additional_kwargs={"passages": passages})]


@pytest.mark.parametrize("quoting", [False, True])
@pytest.mark.parametrize("batches", [1, 2])
def test_chats_decoded_together_get_the_texts_they_get_alone(model: HFChatModel, batches: int, quoting: bool) -> None:
    model = model.model_copy(update={"lock": WeightsLock(batches), "verbatim": quoting, "refusal": "No."})
    alone = [model.invoke(asked(n)).content for n in range(6)]
    together: dict[int, str] = {}
    server = BatchedChatModel(inner=model, rows=4 // batches, collect=0.1)  # the fifth and sixth are in a later batch
    threads = [
        threading.Thread(target=lambda n=n: together.update({n: "".join(str(p.content) for p in server.stream(asked(n)))}))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [together[n] for n in range(6)] == alone
    assert len(set(alone)) > 1, "equal texts would hide a mix-up"


def test_a_batch_holds_who_waited_longest_and_prompts_of_like_length() -> None:
    model: Any = SimpleNamespace(tokens_at_once=lambda request: 300)
    line = _Line(model, most_rows=3, collect=0)
    for length in (100, 10, 90, 300, 95, 12, 11):
        line.put(Request([0] * length), TextStream(None))
    batches = [[len(request.prompt) for request, _ in line.next_batch() or ()] for _ in range(3)]
    assert batches == [[100, 95, 90], [10, 11, 12], [300]]


def test_an_adapter_is_switched_between_batches_and_waits_for_no_later_one() -> None:
    lock = WeightsLock(2)
    events: list[str] = []
    first, second = lock.reading(), lock.reading()
    first.__enter__()
    second.__enter__()  # two read at once

    def switch() -> None:
        with lock.changing():
            events.append("switched")

    def read() -> None:
        with lock.reading():
            events.append("read")

    threads = [threading.Thread(target=switch), threading.Thread(target=read)]
    threads[0].start()
    wait_until(lambda: lock._changers)
    threads[1].start()
    first.__exit__(None, None, None)
    time.sleep(0.05)
    assert events == [], "one batch is being read still, and who came later does not overtake"
    second.__exit__(None, None, None)
    for thread in threads:
        thread.join(20)
    assert events == ["switched", "read"]


def test_a_reader_who_leaves_stops_only_the_own_row(model: HFChatModel) -> None:
    server = BatchedChatModel(inner=model, collect=0.1)
    expected = model.invoke(asked(2)).content
    left, stays = server.stream(asked(1)), server.stream(asked(2))
    texts: list[str] = []
    reader = threading.Thread(target=lambda: texts.append("".join(str(piece.content) for piece in stays)))
    reader.start()
    next(left)
    left.close()
    reader.join(60)
    assert texts == [expected]


def test_a_broken_prompt_is_told_to_its_own_reader_only(model: HFChatModel) -> None:
    server = BatchedChatModel(inner=model)
    with pytest.raises(KeyError):
        server.invoke([HumanMessage(content="x", type="human", role="?").model_copy(update={"type": "alien"})])
    assert server.invoke(asked(1)).content == model.invoke(asked(1)).content


def test_only_models_that_decode_here_are_batched(model: HFChatModel) -> None:
    scripted = ScriptedChatModel()
    assert batched(scripted) is scripted
    server = batched(model)
    assert isinstance(server, BatchedChatModel)
    assert (server.model_id, server.adapter_id) == (model.model_id, "")


# -- the server --------------------------------------------------------------------------------------------------------


def test_twenty_chats_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    script = {f"Question {n}?": f"Answer {n}." for n in range(20)}
    with running(tmp_path, ScriptedChatModel(script=script)) as (context, url):
        headers = add_users(context.accounts)
        got: dict[int, tuple[str, int]] = {}

        def chat(n: int) -> None:
            name = ("ana", "ben")[n % 2]
            other = ("ben", "ana")[n % 2]
            messages = [{"role": "user", "content": f"Question {n}?"}]
            body = {"model": "emendo", "messages": messages}
            reply = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers[name], timeout=60).json()
            path = f"{url}/answers/{reply['emendo']['answer_id']}"
            got[n] = (reply["choices"][0]["message"]["content"], httpx.get(path, headers=headers[other]).status_code)

        threads = [threading.Thread(target=chat, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert got == {n: (f"Answer {n}.", 404) for n in range(20)}


@pytest.mark.parametrize("stream", [True, False])
def test_a_closed_client_frees_its_place(tmp_path: Path, stream: bool) -> None:
    model = SlowChatModel(otherwise="word " * 400)
    with running(tmp_path, model) as (_, url):
        body = {**CHAT, "stream": stream}
        with httpx.Client(timeout=httpx.Timeout(20, read=20 if stream else 1.5)) as client:
            if stream:
                with client.stream("POST", f"{url}/v1/chat/completions", json=body) as reply:
                    assert "word" in next(line for line in reply.iter_lines() if "word" in line)
            else:
                with pytest.raises(httpx.ReadTimeout):
                    client.post(f"{url}/v1/chat/completions", json=body)
        wait_until(lambda: 'emendo_answers_total{outcome="cancelled",surface="api"} 1.0' in httpx.get(f"{url}/metrics").text)
        assert "emendo_queue_running 0.0" in httpx.get(f"{url}/metrics").text
        assert not model.open_now


def test_the_place_in_the_line_is_sent_while_a_stream_waits(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    assert context.queue.at_once == 2, "quoting is not done in batches"
    may_write = threading.Event()

    class HeldChatModel(ScriptedChatModel):
        def _stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
            may_write.wait(60)
            yield from super()._stream(*args, **kwargs)

    with running(tmp_path / "slow", HeldChatModel(otherwise="word " * 3)) as (slow, url):
        slow.queue.at_once = 1
        first = threading.Thread(target=lambda: httpx.post(f"{url}/v1/chat/completions", json=CHAT, timeout=60))
        first.start()
        wait_until(lambda: "emendo_queue_running 1.0" in httpx.get(f"{url}/metrics").text)
        with httpx.stream("POST", f"{url}/v1/chat/completions", json={**CHAT, "stream": True}, timeout=60) as reply:
            lines = (line for line in reply.iter_lines() if line)
            assert next(lines) == ": place 1 in the queue"
            may_write.set()
            *_, last, done = lines
        first.join()
        assert done == "data: [DONE]"
        assert json.loads(last.removeprefix("data: "))["emendo"]["text"].startswith("word")


KILLED = """
import sys
sys.path.insert(0, "tests")
from pathlib import Path
from running_site import running
from test_serve_load import SlowChatModel
with running(Path(sys.argv[1]), SlowChatModel(script={"One?": "First answer."}, otherwise="word " * 400)) as (_, url):
    print(url, flush=True)
    sys.stdin.read()
"""


def test_a_server_killed_in_an_answer_keeps_every_answer_and_every_question(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    server = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    with asked_on_the_page(url, "One?") as lines:
        next(line for line in lines if "process_completed" in line)
    (row,) = Store(tmp_path / "emendo.db").conversations()
    with asked_on_the_page(url, QUESTION, "tab2") as lines:
        next(line for line in lines if "word" in line)
        server.send_signal(signal.SIGKILL)
        server.wait()
    store = Store(tmp_path / "emendo.db")
    assert [turn.text for turn in store.turns(row["conversation_id"])] == ["First answer."]
    (asked,) = [turn for other in store.conversations() if other != row for turn in store.turns(other["conversation_id"])]
    assert (asked.question, asked.text, asked.stopped) == (QUESTION, "", True)
    assert "Not answered yet" in answer_html(asked)
    with running(tmp_path) as (_, url), asked_on_the_page(url, QUESTION) as lines:
        assert "40 hours" in next(line for line in lines if "process_completed" in line)


@contextmanager
def asked_on_the_page(url: str, question: str, tab: str = "tab1") -> Iterator[Iterator[str]]:
    """The events that a tab gets after its question."""
    described = httpx.get(f"{url}/config").json()["dependencies"]
    [ask] = [part["id"] for part in described if part["api_name"] == "ask"]
    event = {"fn_index": ask, "data": [question, None, "All manuals", "serving"], "session_hash": tab}
    with httpx.Client(base_url=f"{url}/gradio_api", timeout=60) as client:
        client.post("/queue/join", content=json.dumps(event), headers={"content-type": "application/json"})
        with client.stream("GET", "/queue/data", params={"session_hash": tab}) as messages:
            yield messages.iter_lines()


def test_a_closed_tab_frees_its_place_and_keeps_what_was_written(tmp_path: Path) -> None:
    model = SlowChatModel(otherwise="word " * 400)
    with running(tmp_path, model) as (context, url):
        with asked_on_the_page(url, QUESTION) as lines:
            assert "word" in next(line for line in lines if "word" in line)
        wait_until(lambda: not model.open_now)
        wait_until(lambda: 'emendo_answers_total{outcome="cancelled",surface="pages"} 1.0' in httpx.get(f"{url}/metrics").text)
        (row,) = context.store.conversations()
        wait_until(lambda: context.store.turns(row["conversation_id"])[0].text)
        (answer,) = context.store.turns(row["conversation_id"])
        assert answer.stopped
        assert answer.text.startswith("word")
        assert answer.hits
