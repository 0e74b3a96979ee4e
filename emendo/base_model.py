"""A base model's weights and tokenizer, loaded for serving or for tuning: NF4, bf16 or fp32."""

from __future__ import annotations

import os
from typing import Any

from emendo.quiet import quiet_libraries
from emendo.records import UserError


def load_base(base: str, bits: str = "auto", training: bool = False) -> tuple[Any, Any]:
    """(model, tokenizer) of a hub id or folder; `id@revision` pins the revision.

    bits: nf4 (bitsandbytes, double quantisation), bf16, fp32, or auto (bf16 on a GPU, fp32 on a CPU, faster for small models).
    `training` keeps bitsandbytes from repacking CPU weights at the first evaluation, which would cut the gradient after it.
    """
    import torch

    quiet_libraries()
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name, _, revision = base.partition("@")
    if bits not in ("auto", "nf4", "bf16", "fp32"):
        raise UserError(f"bits {bits!r}: expected auto, nf4, bf16 or fp32")
    options: dict[str, Any] = {"dtype": torch.bfloat16 if bits != "fp32" else torch.float32}
    if bits == "auto" and not torch.cuda.is_available():
        options["dtype"] = torch.float32
    if bits == "nf4":
        options["quantization_config"] = nf4_config()
        if training:
            keep_gradients_after_eval()
    if torch.cuda.is_available() and not os.environ.get("ACCELERATE_USE_FSDP"):  # FSDP places the parts itself
        # One whole model per process when several train together (`accelerate launch`), else spread over the GPUs.
        rank = os.environ.get("LOCAL_RANK") if training else None
        options["device_map"] = {"": int(rank)} if rank else "auto"
    where = {"revision": revision} if revision else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
        model = AutoModelForCausalLM.from_pretrained(name, **where, **options)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"model {base!r} does not load: {reason} (a folder, or a hub id you may download, with a chat template)"
        ) from error
    if not tokenizer.chat_template:
        raise UserError(f"model {base!r} has no chat template; take its instruction-tuned version")
    return model, tokenizer


def stop_token_ids(model: Any, tokenizer: Any) -> set[int]:
    """The ids at which generation stops: the generation config's, else the tokenizer's EOS."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return {i for i in ids if i is not None} or {tokenizer.eos_token_id}


def nf4_config() -> Any:
    """4-bit NormalFloat with double quantisation, computing in bf16 (QLoRA, arXiv 2305.14314)."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
    )


def keep_gradients_after_eval() -> None:
    """Turn off bitsandbytes' in-place CPU repacking: after it a 4-bit layer no longer passes gradients, nor merges rightly."""
    import bitsandbytes.nn.modules as modules

    modules.has_avx512bf16 = lambda: False
