"""What this machine can do: device, memory, packages, which models fit, what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "faiss-cpu",
    "gradio",
    "langchain-core",
    "sentence-transformers",
)
GIB = 1024**3
# GiB for serving (NF4) and for QLoRA tuning with 2,048-token batches: weights, adapters with Adam, activations.
MODELS = (
    ("hf:bundled (5M, demonstration)", 0.5, 1.5),
    ("hf:Qwen/Qwen3-0.6B", 1.5, 4),
    ("hf:Qwen/Qwen3-4B-Instruct-2507", 4.5, 9),
    ("hf:Qwen/Qwen3-8B", 8, 15),
)


@dataclass(frozen=True)
class Finding:
    topic: str
    state: str  # ok | missing | note
    text: str


def examine() -> list[Finding]:
    """One finding per topic; `missing` ones say what to run."""
    import psutil

    memory = psutil.virtual_memory()
    found = [Finding("python", "ok", sys.version.split()[0])]
    for name in PACKAGES:
        try:
            found.append(Finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding(name, "missing", "run: make install"))
    found.append(
        Finding("cpu", "ok", f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores")
    )
    found.append(Finding("memory", "ok", f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f}"))
    found.append(Finding("disk", "ok", f"{shutil.disk_usage('.').free / GIB:.0f} GiB free here"))
    gpu = _gpu_memory()
    found.append(
        Finding("gpu", "ok" if gpu else "note", f"{gpu:.0f} GiB" if gpu else "none: the bundled model and quote run on the CPU")
    )
    room = gpu or memory.available / GIB
    for spec, serving, tuning in MODELS:
        fits = [what for what, need in (("serve", serving), ("tune", tuning)) if need <= room]
        slow = ", slowly on this CPU" if fits and not gpu and "bundled" not in spec else ""
        found.append(
            Finding(spec, "ok" if fits else "note", f"fits to {' and '.join(fits)} in NF4{slow}" if fits else "does not fit")
        )
    if shutil.which("chromium") is None and shutil.which("chromium-browser") is None:
        found.append(Finding("chromium", "note", "not installed; only the browser test needs it"))
    return found


def _gpu_memory() -> float:
    """GiB of the first GPU; 0 without one."""
    if importlib.util.find_spec("torch") is None:
        return 0.0
    import torch

    return torch.cuda.get_device_properties(0).total_memory / GIB if torch.cuda.is_available() else 0.0
