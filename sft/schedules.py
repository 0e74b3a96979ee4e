"""Learning-rate schedules, all described by one number: `floor`, the rate at the end as a share of the highest."""

from __future__ import annotations

import math
from typing import Any, Literal

Schedule = Literal["cosine", "linear", "step", "exponential", "plateau", "constant"]


def share_at(schedule: Schedule, progress: float, floor: float, drops: int) -> float:
    """The learning rate at `progress` (0 after the warmup, 1 at the end), as a share of the highest.

    step falls `drops` times by the same factor, after equal parts of the run; exponential is its smooth form.
    """
    if schedule == "linear":
        return 1 - (1 - floor) * progress
    if schedule == "cosine":
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
    if schedule == "exponential":
        return float(floor**progress)
    if schedule == "step":
        return float(floor ** (min(math.floor(progress * (drops + 1)), drops) / drops))
    return 1.0


def make_scheduler(optimizer: Any, schedule: Schedule, warmup: int, steps: int, floor: float, drops: int) -> Any:
    """A torch scheduler for `steps` updates of which the first `warmup` rise linearly.

    plateau has no warmup: it halves the rate, down to the floor, when two validations in a row have not improved.
    """
    from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

    if schedule == "plateau":
        lowest = [floor * group["lr"] for group in optimizer.param_groups]
        return ReduceLROnPlateau(optimizer, factor=0.5, patience=1, min_lr=lowest)

    def share(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        return share_at(schedule, min(1.0, (step - warmup) / max(1, steps - warmup)), floor, drops)

    return LambdaLR(optimizer, share)
