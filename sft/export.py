"""Adapters for other programs: the LoRA folder that vLLM loads, one merged model, and GGUF by llama.cpp's converter."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emendo.base_model import load_base
from emendo.hf_model import check_adapter
from emendo.records import Chunk, UserError
from rag.prompt import build_messages
from sft.adapters import read_card

LORA_FILES = ("adapter_config.json", "adapter_model.safetensors", "card.json")
PROBES = ("How often do I clean it?", "What does the red light mean?", "Which fuse does it need?")


@dataclass(frozen=True)
class Parity:
    """How far the merged model's logits are from those of base and adapter, over all positions of the probe prompts."""

    mean_difference: float  # absolute, in logits
    largest_difference: float
    same_first_choice: float  # share of positions
    adapter_effect: float  # mean absolute difference between base with and without the adapter: the scale of the first


def export_lora(adapter: Path, target: Path) -> None:
    """The adapter's own folder as vLLM (`--lora-modules name=DIR`) and PEFT load it; UserError for what vLLM cannot."""
    read_card(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    if config.get("use_dora"):
        raise UserError("vLLM does not load DoRA adapters; export it with --merged")
    partial = _partial(target)
    for name in LORA_FILES:
        shutil.copy2(adapter / name, partial / name)
    partial.replace(target)


def export_merged(adapter: Path, target: Path) -> Parity:
    """Base and adapter as one bf16 model with tokenizer and template; the parity is kept beside it as export.json.

    The 4-bit base is dequantised before the adapter is added: adding it to the original weights, or merging in 4 bits, gives
    another model than the one that was tuned and judged. The parity is measured on the model as read back from the disk.
    """
    import torch
    from peft import PeftModel

    card = read_card(adapter)
    bits = card.settings["bits"]
    partial = _partial(target)
    try:
        model, tokenizer = load_base(card.base_model, bits, training=True)
        check_adapter(adapter, tokenizer, card.base_model)
        prompts = [torch.tensor([ids]) for ids in _probe_ids(tokenizer)]
        base_logits = _logits(model, prompts)
        tuned = PeftModel.from_pretrained(model, adapter)
        tuned_logits = _logits(tuned, prompts)
        model = tuned.unload()
        if bits == "nf4":
            model = model.dequantize()
        merged = PeftModel.from_pretrained(model.to(torch.bfloat16), adapter).merge_and_unload(safe_merge=True)
        merged.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        del model, tuned, merged
        gc.collect()
        parity = _compare(base_logits, tuned_logits, _logits(load_base(str(partial), "bf16")[0], prompts))
        _describe(partial, adapter.name, card.base_model, bits, parity)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return parity


def export_gguf(merged: Path, converter: Path) -> Path:
    """`merged` as GGUF beside its safetensors, by llama.cpp's convert_hf_to_gguf.py; UserError with its last line if it fails."""
    if not converter.is_file():
        raise UserError(f"converter {converter} does not exist; give the path of llama.cpp's convert_hf_to_gguf.py")
    file = merged / f"{merged.name}.gguf"
    command = [sys.executable, str(converter), str(merged), "--outfile", str(file), "--outtype", "bf16"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not file.is_file():
        last = (done.stderr.strip() or done.stdout.strip() or "it wrote no file").splitlines()[-1]
        raise UserError(f"{converter.name} failed: {last} (the merged model is in {merged})")
    return file


def _partial(target: Path) -> Path:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists already; give a new or empty folder with --to")
    partial = target.with_name(f".partial-{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _probe_ids(tokenizer: Any) -> list[list[int]]:
    from emendo.chat_template import render

    text = "The red light means that the tank is empty. Clean the filter once a week. Use a 10 A fuse."
    passage = Chunk("probe", "probe", "Probe", "Probe", ("Care",), text, "Probe > Care")
    return [render(tokenizer, build_messages(question, [passage]), generate=True) for question in PROBES]


def _logits(model: Any, prompts: list[Any]) -> list[Any]:
    """Of every position, fp32 on the CPU."""
    import torch

    device = next(model.parameters()).device
    with torch.inference_mode():
        return [model.eval()(input_ids=ids.to(device)).logits.float().cpu() for ids in prompts]


def _compare(base: list[Any], tuned: list[Any], merged: list[Any]) -> Parity:
    import torch

    before, wanted, got = (torch.cat([rows[0] for rows in logits]) for logits in (base, tuned, merged))
    effect = float((wanted - before).abs().mean())
    parity = Parity(
        mean_difference=float((got - wanted).abs().mean()),
        largest_difference=float((got - wanted).abs().max()),
        same_first_choice=float((got.argmax(-1) == wanted.argmax(-1)).float().mean()),
        adapter_effect=effect,
    )
    if not effect or parity.mean_difference > effect / 2:
        raise UserError(
            f"the merged model is not the tuned one (logits differ by {parity.mean_difference:.4f} on average, the adapter's own "
            f"effect is {effect:.4f}); nothing was written"
        )
    return parity


def _describe(folder: Path, adapter_id: str, base: str, bits: str, parity: Parity) -> None:
    about = {"adapter_id": adapter_id, "base_model": base, "merged_from": bits, "parity": asdict(parity)}
    (folder / "export.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (folder / "README.md").write_text(
        f"# {Path(base).name} with adapter {adapter_id}\n\n"
        f"Merged by Emendo from the {bits} base it was tuned on, saved in bf16. Against base and adapter its logits differ by "
        f"{parity.mean_difference:.4f} on average (the adapter's own effect is {parity.adapter_effect:.4f}); the likeliest token "
        f"is the same in {parity.same_first_choice:.1%} of positions.\n",
        encoding="utf-8",
    )
