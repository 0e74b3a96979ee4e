"""The registry of adapters, what refuses them, and their export to other programs."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from emendo.cli import main
from emendo.hf_model import HFChatModel
from emendo.records import AdapterCard, UserError
from sft.examples import ExampleSettings, build_examples
from sft.export import export_gguf, export_lora, export_merged
from sft.train import TuneSettings, tune

SETTINGS = TuneSettings(rank=8, alpha=16, dropout=0.0, learning_rate=1e-2, batch_size=1, epochs=12, max_tokens=4096)


@pytest.fixture(scope="module")
def base(tiny_model, tmp_path_factory) -> Path:
    return shutil.copytree(tiny_model, tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def tuned(base, workspace, correction) -> tuple[Path, AdapterCard]:
    """(folder, card) of an adapter tuned on NF4."""
    data = build_examples([correction], ExampleSettings(validation_share=0, refusal_share=0))
    card = tune(str(base), data, {"k1": correction}, workspace / "adapters", SETTINGS, lambda *_: None)
    return workspace / "adapters" / card.adapter_id, card


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture
def emendo(workspace, capsys):
    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--workspace", str(workspace), *map(str, args)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_merged_model_answers_as_base_and_adapter_do(tuned, base, tmp_path):
    import torch
    from safetensors.torch import load_file

    folder, card = tuned
    parity = export_merged(folder, tmp_path / "merged")
    assert parity.adapter_effect > 0.1
    assert parity.mean_difference < 0.1 * parity.adapter_effect
    assert parity.same_first_choice > 0.95
    about = json.loads((tmp_path / "merged" / "export.json").read_text())
    assert about["adapter_id"] == card.adapter_id
    assert about["parity"] == dataclasses.asdict(parity)
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    weights = load_file(tmp_path / "merged" / "model.safetensors")
    original = load_file(base / "model.safetensors")
    assert {t.dtype for t in weights.values()} == {torch.bfloat16}
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.allclose(weights[name].float(), original[name].float(), atol=1e-2), "the base is not the merged model"
    files = {path.name for path in (tmp_path / "merged").iterdir()}
    assert {"chat_template.jinja", "generation_config.json", "tokenizer.json"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pkl"))]


def test_merging_after_an_evaluation_gives_the_same_model(tuned, tmp_path):
    """bitsandbytes' CPU repacking at an evaluation would make merging decode garbage."""
    folder, _ = tuned
    first = export_merged(folder, tmp_path / "one")
    again = export_merged(folder, tmp_path / "two")
    assert first == again
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (tmp_path / "two" / "model.safetensors").read_bytes()


def test_an_adapter_that_changes_nothing_is_not_merged(tuned, tmp_path):
    from safetensors.torch import load_file, save_file

    folder, card = tuned
    empty = shutil.copytree(folder, tmp_path / card.adapter_id)
    weights = load_file(empty / "adapter_model.safetensors")
    zeros = {name: tensor * 0 if "lora_B" in name else tensor for name, tensor in weights.items()}
    save_file(zeros, empty / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="not the tuned one"):
        export_merged(empty, tmp_path / "merged")
    assert not list(tmp_path.glob("*merged*")), "nothing is left behind"


def test_the_lora_folder_has_what_vllm_reads(tuned, tmp_path):
    from safetensors import safe_open

    folder, _ = tuned
    export_lora(folder, tmp_path / "lora")
    assert sorted(p.name for p in (tmp_path / "lora").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "card.json",
    ]
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["bias"]) == ("LORA", 8, "none")
    assert not config["modules_to_save"]
    assert isinstance(config["target_modules"], list)
    with safe_open(tmp_path / "lora" / "adapter_model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118
            assert re.fullmatch(r"base_model\.model\.model\.layers\.\d+\.\w+\.\w+\.lora_[AB]\.weight", name)


def test_gguf_is_left_to_llama_cpp(tmp_path):
    merged = tmp_path / "merged"
    merged.mkdir()
    with pytest.raises(UserError, match=r"give the path of llama\.cpp's convert_hf_to_gguf\.py"):
        export_gguf(merged, tmp_path / "no.py")
    converter = tmp_path / "convert_hf_to_gguf.py"
    converter.write_text("import sys\nopen(sys.argv[sys.argv.index('--outfile') + 1], 'w').write(sys.argv[1])\n")
    assert export_gguf(merged, converter).read_text() == str(merged)
    converter.write_text("raise SystemExit('Model TinyForCausalLM is not supported')")
    (merged / "merged.gguf").unlink()
    with pytest.raises(UserError, match="failed: Model TinyForCausalLM is not supported"):
        export_gguf(merged, converter)


def test_an_adapter_of_other_weights_is_refused_and_the_one_that_serves_stays(tuned, base, tmp_path):
    folder, card = tuned
    model = HFChatModel.load(str(base), adapter=str(folder), bits="nf4")
    other = shutil.copytree(folder, tmp_path / "other")
    written = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps({**written, "base_sha256": "0" * 64, "base_model": "acme/other"}))
    with pytest.raises(UserError, match=r"another base model \(acme/other\)"):
        model.set_adapter(str(other))
    assert model.adapter_id == card.adapter_id
    assert any("lora_B" in name for name, _ in model.model.named_parameters()), "it still serves with the first"


def test_list_show_diff_and_delete(tuned, workspace, correction, base, emendo):
    _, card = tuned
    later = dataclasses.replace(SETTINGS, epochs=1, learning_rate=1e-3)
    data = build_examples([correction], ExampleSettings(validation_share=0, refusal_share=0))
    second = tune(str(base), data, {"k1": correction}, workspace / "adapters", later, lambda *_: None)
    assert {row["card"]["adapter_id"] for row in json.loads(emendo("adapters", "--json")[1])} == {
        card.adapter_id,
        second.adapter_id,
    }
    code, out, _ = emendo("adapters", "show", card.adapter_id[:6])
    assert code == 0
    assert "template_sha256" in out
    code, out, _ = emendo("adapters", "diff", card.adapter_id, second.adapter_id, "--json")
    changed = {what: (mine, its) for what, mine, its in json.loads(out)}
    assert changed["settings.learning_rate"] == ("0.01", "0.001")
    assert "base model" not in changed
    assert emendo("promote", second.adapter_id, "--force", "--reason", "test")[0] == 0
    code, _, err = emendo("adapters", "delete", second.adapter_id)
    assert code == 2
    assert "promoted and serving" in err
    assert emendo("adapters", "delete")[0] == 2, "never the newest by default"
    assert emendo("rollback")[0] == 0
    assert emendo("adapters", "delete", second.adapter_id)[0] == 0
    assert [row["card"]["adapter_id"] for row in json.loads(emendo("adapters", "--json")[1])] == [card.adapter_id]


def test_export_by_command(tuned, tmp_path, emendo):
    _, card = tuned
    assert "the folder is missing" in emendo("adapters", "export", card.adapter_id)[2]
    code, out, _ = emendo("adapters", "export", card.adapter_id, "--to", tmp_path / "out")
    assert code == 0
    assert "vLLM" in out
    code, _, err = emendo("adapters", "export", card.adapter_id, "--to", tmp_path / "out")
    assert code == 2
    assert "exists already" in err
    code, out, _ = emendo("adapters", "export", card.adapter_id, "--to", tmp_path / "merged", "--merged", "--json")
    assert code == 0
    assert json.loads(out)["parity"]["same_first_choice"] > 0.95
