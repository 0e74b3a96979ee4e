"""Chat models by spec: what each answers, that streams and batches agree, and what a wrong spec says."""

from __future__ import annotations

import dataclasses
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from langchain_core.messages import HumanMessage

from emendo.chat_models import load_chat_model
from emendo.quote_model import QuoteChatModel
from emendo.records import UserError
from rag.answer import to_langchain
from rag.evidence import find_evidence
from rag.fusion import question_terms
from rag.prompt import build_messages


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gpt", "expected one of quote"),
        ("hf:", "expected one of quote"),
        ("openai:localhost#m", "expected openai:http"),
        ("openai:http://localhost/v1", "expected one of quote"),
        ("scripted:/no/such/file.json", "No such file"),
        ("hf:./no/such/folder", "does not exist"),
        ("hf:nobody/nothing-here", "does not load"),
    ],
)
def test_a_wrong_spec_is_one_clear_line(spec, message):
    with pytest.raises(UserError, match=message):
        load_chat_model(spec)


def ask(question, hits):
    return to_langchain(build_messages(question, [hit.chunk for hit in hits]), question, hits)


def test_quote_prints_only_sentences_of_the_manual(hits):
    model = load_chat_model("quote")
    text = model.invoke(ask("how often should I descale the kettle?", hits)).content
    assert text.startswith("Descale the kettle every 3 months. [1]")
    assert "amber" in model.invoke(ask("what does the amber light mean", hits)).content
    assert "".join(chunk.content for chunk in model.stream(ask("amber light?", hits))).endswith("[3]")


def test_quote_gives_the_whole_procedure_in_order(hits):
    steps = "Open the lid first.\n1. Fill the tank.\n2. Add 20 g of descaler.\n3. Boil once.\n4. Rinse twice."
    chunk = dataclasses.replace(hits[0].chunk, text=steps)
    text = load_chat_model("quote").invoke(ask("how do I use the descaler", [dataclasses.replace(hits[0], chunk=chunk)])).content
    assert text.splitlines() == [
        "1. Fill the tank. [1]",
        "2. Add 20 g of descaler. [1]",
        "3. Boil once. [1]",
        "4. Rinse twice. [1]",
    ]


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        (
            "E01 | No water | Fill it\nE02 | Sensor silent | Refill it\nE03 | Sensor hot | Wait",
            "E02?",
            "E02 | Sensor silent | Refill it [1]",
        ),
        (
            "E01 - Overvoltage\nThe battery is too full.\nE02 - Torque sensor\nSwitch it off and on again.\nE03 - Speed sensor",
            "what does the torque sensor code E02 mean",
            "E02 - Torque sensor [1]\nSwitch it off and on again. [1]",
        ),
    ],
)
def test_quote_prints_the_entry_of_a_code_and_no_other(hits, text, question, answer):
    hit = dataclasses.replace(hits[0], chunk=dataclasses.replace(hits[0].chunk, text=text))
    found = find_evidence(question, question_terms(question, lambda word: 1.0), [hit], lambda question, units: [0.5] * len(units))
    assert QuoteChatModel().reply(question, [text], [evidence.score for evidence in found]) == answer


def test_quote_follows_the_scores_it_is_given_and_says_nothing_twice():
    passages = ["Rinse the tank. Dry the tank well. Close the lid.", "Dry the tank very well. Use no soap."]
    model = QuoteChatModel(next_bonus=0.0)
    assert model.reply("tank", passages, [0, 9, 0, 8, 7]) == "Dry the tank well. [1]\nUse no soap. [2]"
    assert model.reply("tank", passages, [0, 0, 9, 0, 0]) == "Close the lid. [1]"
    assert model.reply("tank", [], []) == "The manual does not say."


def test_quote_without_passages_says_what_to_do():
    with pytest.raises(UserError, match="answers from passages only"):
        load_chat_model("quote").invoke([HumanMessage("hello")])


def test_scripted_answers_from_its_file(tmp_path, hits):
    (tmp_path / "s.json").write_text(json.dumps({"how often": "Every 3 months. [1]"}))
    model = load_chat_model(f"scripted:{tmp_path / 's.json'}")
    assert model.invoke(ask("how often", hits)).content == "Every 3 months. [1]"
    assert model.invoke(ask("something else", hits)).content == "The manual does not say."


def test_transformers_batches_and_streams_say_what_single_calls_say(tiny_model, hits):
    model = load_chat_model(f"hf:{tiny_model}", max_new_tokens=12, bits="fp32")
    prompts = [ask(question, hits[:n]) for n, question in ((1, "how often"), (3, "why is the light amber"), (2, "power?"))]
    single = [model.invoke(prompt).content for prompt in prompts]
    assert [message.content for message in model.batch(prompts)] == single
    assert "".join(chunk.content for chunk in model.stream(prompts[1])) == single[1]
    assert len(set(single)) > 1


def test_closing_a_stream_stops_the_generation(tiny_model, hits):
    model = load_chat_model(f"hf:{tiny_model}", max_new_tokens=2000, bits="fp32")
    stream = model.stream(ask("how often", hits))
    next(stream)
    stream.close()
    assert model.lock.acquire(timeout=30), "the model is free again"


def test_an_openai_compatible_server_is_asked_with_our_prompt(hits):
    seen = {}

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            message = {"role": "assistant", "content": "Every 3 months. [1]"}
            body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
            body["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
            raw = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    model = load_chat_model(f"openai:http://127.0.0.1:{server.server_port}/v1#m")
    assert model.invoke(ask("how often", hits)).content == "Every 3 months. [1]"
    server.shutdown()
    assert seen["model"] == "m"
    assert [m["role"] for m in seen["messages"]] == ["system", "user"]
    assert "[2] Kettle K1 > Safety > Power" in seen["messages"][1]["content"]


def test_verbatim_decoding_prints_only_units_of_the_passages_or_refuses(tiny_model, hits):
    """An untrained model writes noise when free; on the paths, every statement stands in the passage it cites."""
    from rag.citations import CITATION, resolve_citations, split_sentences
    from rag.prompt import REFUSAL, is_refusal

    options = {"max_new_tokens": 120, "bits": "fp32"}
    free = load_chat_model(f"hf:{tiny_model}", **options)
    model = load_chat_model(f"hf:{tiny_model}", verbatim=True, refusal=REFUSAL, **options)
    questions = ["how often", "amber?", "which socket", "what acid", "light"]
    prompts = [ask(question, hits) for question in questions]
    assert "kettle" not in free.invoke(prompts[0]).content
    texts = [message.content for message in model.batch(prompts)]
    assert texts[1] == model.invoke(prompts[1]).content
    passages = {n: hit.chunk.text for n, hit in enumerate(hits, 1)}
    for text in texts:
        if is_refusal(text):
            continue
        for citation in resolve_citations(text, hits):
            assert citation.quote in passages[citation.n]
        statements = [CITATION.sub("", statement) for statement in split_sentences(text)]
        assert len(statements) == len(set(statements)), "nothing is printed twice"


def test_verbatim_paths_allow_the_units_the_refusal_and_then_the_end(tiny_model):
    from transformers import AutoTokenizer

    from emendo.verbatim import VerbatimPaths

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    paths = VerbatimPaths(tokenizer, ["Open it. Close it."], "No.", [1])

    def after(text: str) -> set[str]:
        return {tokenizer.decode([token]) for token in paths.allowed(tokenizer(text, add_special_tokens=False)["input_ids"])}

    assert after("") == {"O", "C"}
    assert after("Open it. [1]") == {" ", "\n", "<|end|>"}
    assert after("Open it. [1] ") == {"C"}
    assert after("Open it. [1] Close it. [1]") == {"<|end|>"}
    paths.refusing = True
    assert after("") == {"N"}
    assert after("No.") == {"<|end|>"}
