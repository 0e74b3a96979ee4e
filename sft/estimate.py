"""Memory of a tuning run, before it starts: weights from the configuration alone, activations from a short forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emendo.quiet import quiet_libraries
from emendo.records import UserError

GIB = 1024**3
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # per weight: 4 bits, an 8-bit scale per 64, a 32-bit scale per 256 of those
ADAPTER_BYTES = 16  # per adapter weight, fp32: itself, its gradient, Adam's two moments
PROBE_TOKENS = 64


@dataclass(frozen=True)
class Memory:
    """Bytes a run needs at its worst."""

    weights: int
    adapters: int
    per_token: int = 0  # of a step, at its peak, per padded token of a batch; 0 until measured

    def total(self, tokens: int) -> int:
        return self.weights + self.adapters + self.per_token * tokens


def memory_of(base: str, bits: str, rank: int) -> Memory:
    """Weights and adapters on all linear layers, from the model's configuration; no weight is loaded.

    UserError for a model that is missing, gated, or of a family that transformers cannot load as a causal language model.
    """
    import torch

    quiet_libraries()
    from transformers import AutoConfig, AutoModelForCausalLM

    name, _, revision = base.partition("@")
    try:
        config = AutoConfig.from_pretrained(name, **({"revision": revision} if revision else {}))
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(_why_not(base, error)) from error
    head = model.get_output_embeddings()
    linear = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear) and layer is not head]
    inner = sum(layer.weight.numel() for layer in linear)
    rest = sum(parameter.numel() for parameter in model.parameters()) - inner
    width = {"nf4": NF4_BYTES, "bf16": 2, "fp32": 4}[bits]
    adapters = ADAPTER_BYTES * rank * sum(layer.in_features + layer.out_features for layer in linear)
    return Memory(round(inner * width + rest * (4 if bits == "fp32" else 2)), adapters)


def _why_not(base: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    lowered = str(error).lower()
    if Path(base).is_dir() and not (Path(base) / "config.json").is_file():
        return f"model folder {base} holds no config.json; give the folder of a whole model"
    if "gated" in lowered or "restricted" in lowered or "401" in lowered:
        return f"model {base!r} is gated: accept its licence on its hub page, then log in with `hf auth login` or set HF_TOKEN"
    if "does not recognize this architecture" in lowered or "unrecognized" in lowered or "configuration class" in lowered:
        return f"model {base!r} is of a family that cannot be tuned as a causal language model: {reason}"
    return f"model {base!r} does not load: {reason} (a folder, or a hub id you may download)"


def kept_bytes(model: Any, forward: Callable[[], Any]) -> int:
    """Bytes that one `forward` keeps for its backward pass, each storage once, the weights not counted."""
    import torch

    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(kept.values())


def backward_share(model: Any) -> float:
    """Peak of a step over what the forward pass keeps: while one block is gone through, its gradients come to it, about twice.

    On the bundled model (6 blocks) the resident memory of a step grew 1.42 and 1.46 times the bytes kept; this gives 1.33.
    """
    blocks = int(getattr(model.config.get_text_config(), "num_hidden_layers", 0) or 1)
    return 1 + 2 / blocks


def free_memory() -> int:
    """Bytes free on the GPU, or without one on this machine, a container's limit respected."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    free = int(psutil.virtual_memory().available)
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no limit: the file is missing or says "max"
        return free


def check_room(need: Memory, tokens: int, longest: int, batch_size: int, room: int, bits: str) -> str:
    """ "" when `tokens` (batch_size rows of `longest`) fit into `room` bytes, else what would fit."""
    if need.total(tokens) <= room:
        return ""
    spare = room - need.weights - need.adapters
    rows = spare // (need.per_token * longest) if need.per_token else 0
    told = f"a step needs about {need.total(tokens) / GIB:.2f} GiB, {room / GIB:.2f} are free; "
    if spare <= 0:
        smaller = "" if bits == "nf4" else "--bits nf4 or "
        return f"{told}the weights and adapters alone do not fit: {smaller}a smaller base model would"
    if rows >= 1:
        return f"{told}it would fit with --set tune.batch_size={rows} --set tune.accumulate={-(-batch_size // rows)}"
    return f"{told}try --set tune.checkpointing=true, or fewer passages (--set examples.passages=2)"
