"""Chat models by spec: what each answers, that streams and batches agree, and what a wrong spec says."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from langchain_core.messages import HumanMessage

from emendo.chat_models import BUNDLED, load_chat_model
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


def test_torn_weights_are_one_clear_line(tmp_path):
    shutil.copytree(BUNDLED, tmp_path / "torn")
    with open(tmp_path / "torn" / "model.safetensors", "r+b") as weights:
        weights.truncate(1000)
    with pytest.raises(UserError, match=r"torn.* does not load: "):
        load_chat_model(f"hf:{tmp_path / 'torn'}").invoke("hello")


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


def test_quote_leaves_out_what_is_too_long_unless_it_is_nearly_as_good_as_the_best():
    long = "Rinse the tank " + "with plenty of fresh cold water " * 12 + "twice."
    passages, model = ["Close the lid. Use no soap.", f"Dry it well. Open the valve. {long}"], QuoteChatModel()
    assert "twice" in model.reply("tank", passages, [0, 9, 0, 0, 8.5])
    assert "twice" not in model.reply("tank", passages, [0, 9, 0, 0, 7])


def test_quote_prints_what_stands_before_and_after_the_best_sentence_where_it_is_nearly_as_good():
    passages = ["Open the lid. Rinse the tank. Close the lid. Dry it well. Use no soap."]
    whole = "Close the lid. [1] Dry it well. [1] Use no soap. [1]"
    assert QuoteChatModel().reply("tank", passages, [4.5, 0, 4.2, 9, 3.7]) == whole, "a better one further off is left out"
    assert QuoteChatModel().reply("tank", passages, [4.5, 0, 3.8, 9, 3.2]) == "Dry it well. [1]"


def test_quote_leaves_no_short_sentence_out_between_two_that_it_prints():
    passages = ["Unscrew the cap. Rinse the tank with water. Let it drip. Press the valve. Mop the floor."]
    printed = QuoteChatModel(margin=1.0, next_bonus=0.0, previous_bonus=0.0).reply("tank", passages, [8, 0, 9, 1, 0])
    assert printed == "Unscrew the cap. [1] Rinse the tank with water. [1] Let it drip. [1]"


def test_quote_prints_the_command_below_a_colon():
    passages = ["You can test it all with this command:\nlampctl -t\nNever do it twice.", "Use lampctl:\nlampctl help"]
    printed = QuoteChatModel(next_bonus=0.0).reply("test", passages, [9, 0, 0, 0, 0])
    assert printed == "You can test it all with this command: [1]\nlampctl -t [1]"


@pytest.mark.parametrize("heading", ["idle_timeout", "7.4.2. idle_timeout", "Idle lamps", "Wi-Fi"])
def test_quote_names_the_setting_that_a_section_is_about(heading):
    said = "The lamp goes out after this time. [1]"
    printed = QuoteChatModel().reply("When does it go out?", ["The lamp goes out after this time."], [9], [heading])
    assert printed == (f"idle_timeout: [1]\n{said}" if "idle_timeout" in heading else said)
    text = "The lamp goes out after idle_timeout."
    assert QuoteChatModel().reply("When?", [text], [9], [heading]) == f"{text} [1]"


def test_quote_does_not_add_the_next_item_of_a_list_without_numbers():
    items = "- The tank holds 2 l.\n- The cable is 4 m long."
    assert QuoteChatModel().reply("tank", [items], [9, 4.5]) == "- The tank holds 2 l. [1]"
    assert "cable" in QuoteChatModel().reply("tank", [items.replace("- ", "")], [9, 4.5]), (
        "a sentence may complete the one before"
    )


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
    switched = threading.Thread(target=model.set_adapter, args=(None,), daemon=True)
    switched.start()
    switched.join(30)
    assert not switched.is_alive(), "the model is free again"


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


def test_verbatim_answers_weigh_the_models_choice_against_the_searchs(tiny_model):
    """A made model that likes C twice as much as O: alone it closes, and the search can overrule it or be overruled."""
    import torch
    from transformers import AutoTokenizer

    from emendo.verbatim import VerbatimPlan, stop_probability, tree_logprobs

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    one = {text: tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in "OC"}
    likes = torch.zeros(len(tokenizer)).log_softmax(-1)
    likes[one["C"]] += math.log(2)

    def first(evidence: list[float] | None = None) -> str:
        plan = VerbatimPlan(tokenizer, ["Open it. Close it."], "No.", evidence)
        return tokenizer.decode(plan.choose(plan.options(), lambda prefix: likes))

    assert first() == "Close it. [1]"
    assert first([1.0, 0.0]) == "Open it. [1]"
    assert first([0.5, 0.0]) == "Close it. [1]", "half a nat weighs less than twice the probability"
    assert first([1.0]) == "Close it. [1]", "scores of other units than these say nothing"

    plan = VerbatimPlan(tokenizer, ["Open it. Close it."], "No.", [0.5, 0.0])
    plan.choose(plan.options(), lambda prefix: likes)
    assert plan.undecided, "the other unit is nearly as likely, so it follows"
    assert tokenizer.decode(plan.choose(plan.options(), lambda prefix: likes)).strip() == "Open it. [1]"
    plan = VerbatimPlan(tokenizer, ["Open it. Close it."], "No.", [0.0, 3.0])
    plan.choose(plan.options(), lambda prefix: likes)
    assert not plan.undecided

    options = [(one["O"], 5, 6), (one["O"], 5, 7), (one["C"], 8)]
    shares = [math.exp(share) for share in tree_logprobs(options, lambda prefix: likes)]
    assert shares == pytest.approx([1 / 6, 1 / 6, 2 / 3])
    assert stop_probability(options, [1], likes) == pytest.approx(1 / 4)


def test_a_verbatim_answer_prints_no_unit_twice_and_nothing_after_a_refusal(tiny_model):
    import torch
    from transformers import AutoTokenizer

    from emendo.verbatim import VerbatimPlan

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    level = torch.zeros(len(tokenizer))
    plan = VerbatimPlan(tokenizer, ["Open it. Open it.\n1. Close it."], "No.")
    printed = []
    while options := plan.options():
        printed.append(tokenizer.decode(plan.choose(options, lambda prefix: level)))
    assert sorted(text.strip() for text in printed) == ["1. Close it. [1]", "Open it. [1]"]

    plan = VerbatimPlan(tokenizer, ["Open it."], "No.")
    plan.refusing = True
    assert tokenizer.decode(plan.choose(plan.options(), lambda prefix: level)) == "No."
    assert plan.options() == []


def test_tried_continuations_have_the_probabilities_of_the_whole_text(tiny_model):
    """The caches are right: padded on both sides, in a batch, after rows have gone."""
    import torch
    from transformers import AutoModelForCausalLM

    from emendo.prompt_reader import PromptReader

    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()

    def whole(ids: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)

    prompts = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    reader = PromptReader(model, prompts, pad=0)
    tried = reader.try_out([(1, [20, 21, 22]), (0, [23]), (1, [24])])
    assert torch.allclose(tried[0][-1], whole([9, 10, 20, 21, 22]), atol=1e-4)
    assert torch.allclose(tried[2][-1], whole([9, 10, 24]), atol=1e-4)
    reader.read({1: [30], 2: [31, 32, 33]})
    assert reader.rows == [1, 2]
    assert torch.allclose(reader.next_token(1), whole([9, 10, 30]), atol=1e-4)
    reader.read({1: [34]})
    assert torch.allclose(reader.next_token(1), whole([9, 10, 30, 34]), atol=1e-4)
    [tried_again] = reader.try_out([(1, [35])])
    assert torch.allclose(tried_again[-1], whole([9, 10, 30, 34, 35]), atol=1e-4)


def test_rows_that_end_leave_a_batch_and_change_nothing_for_the_others(tiny_model, hits):
    """The stop token is made one that some answers write early, some late and some never."""
    from collections import Counter

    model = load_chat_model(f"hf:{tiny_model}", bits="fp32", max_new_tokens=40)
    prompts = [ask("amber? " * n, hits) for n in range(1, 9)]
    whole = [model.decode([model.encode(prompt)])[0] for prompt in prompts]
    seen = Counter(token for ids in whole for token in set(ids))
    stop = next(token for token, rows in seen.most_common() if rows < len(prompts))
    ends = {ids.index(stop) if stop in ids else 40 for ids in whole}
    assert len(ends) > 1, "all answers end at once"
    model.model.generation_config.eos_token_id = [stop]
    alone = [model.invoke(prompt).content for prompt in prompts]
    assert [message.content for message in model.batch(prompts)] == alone
    assert len(set(map(len, alone))) > 1
