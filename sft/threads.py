"""How many threads a run should compute with."""

from __future__ import annotations

import os
from pathlib import Path


def use_free_cores() -> int:
    """Set torch's threads to the cores that nobody else keeps busy, and return their number; OMP_NUM_THREADS overrules it.

    More threads than free cores wait for each other at every operation: two on two busy cores were 6 to 10 times slower than one.
    """
    import psutil
    import torch

    if os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    busy = psutil.cpu_percent(interval=0.3) / 100 * (psutil.cpu_count() or 1)
    threads = free_cores(usable_cores(), busy)
    torch.set_num_threads(threads)
    return threads


def free_cores(usable: float, busy: float) -> int:
    """At least one, however busy the machine is."""
    return max(1, int(usable - busy + 0.5))


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Cores this process may use: its affinity, and a container's quota."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        allowed, period = quota.read_text().split()
        return min(cores, int(allowed) / int(period))
    except (OSError, ValueError):  # no quota: the file is missing or says "max"
        return cores
