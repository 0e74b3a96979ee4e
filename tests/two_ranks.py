"""What test_sft_distributed.py starts twice: DDP runs of the trainer, then raw FSDP2. Rank 0 writes the losses as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from emendo.base_model import load_base
from sft.encoding import Encoded
from sft.train import TuneSettings, build_trainer

TOKENS = [Encoded([5 + (7 * n + i) % 250 for i in range(n)], [0] * (n - 9 + n % 5) + [1] * (9 - n % 5)) for n in range(24, 48, 2)]
# Three of four rows learn choices, of 2 to 4 ids a token; a batch has rows of both kinds.
CHOICES = [
    replace(row, allowed=[[i, *range(1, 2 + i % 3)] for i in row.input_ids[-row.labelled :]] if n % 4 else [])
    for n, row in enumerate(TOKENS)
]
ROWS = {"tokens": TOKENS, "choices": CHOICES}


def tuned_losses(model: str, loss: str, run: Path, batch_size: int) -> list[float]:
    """Training losses, then the validation loss, of one epoch in NF4 with the loss on tokens or choices."""
    rows = ROWS[loss]
    base, tokenizer = load_base(model, "nf4", training=True)
    settings = TuneSettings(dropout=0.0, batch_size=batch_size, epochs=1, learning_rate=1e-3, validations=1)
    trainer = build_trainer(base, tokenizer, rows, rows[1:2] * 4, run, settings, lambda *_: None)
    trainer.train()
    return [row[name] for row in trainer.state.log_history for name in ("loss", "eval_loss") if name in row]


def sharded_losses(model: str, ranks: int, rank: int) -> list[float]:
    """Losses of four plain steps on an fp32 base with LoRA; with more than one rank its layers are sharded by fully_shard."""
    from peft import LoraConfig, get_peft_model
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    base, _ = load_base(model, "fp32", training=True)
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    if ranks > 1:
        mesh = torch.distributed.init_device_mesh("cpu", (ranks,))
        for layer in base.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(adapted, mesh=mesh)
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    ids = torch.arange(4 * 24).reshape(4, 24) % 250 + 5
    part = ids.chunk(ranks)[rank]
    found = []
    for _ in range(4):
        loss = adapted(input_ids=part, labels=part).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        mean = loss.detach().clone()
        if ranks > 1:
            torch.distributed.all_reduce(mean)
        found.append(mean.item() / ranks)
    return found


if __name__ == "__main__":
    model, folder = sys.argv[1], Path(sys.argv[2])
    tuned = {loss: tuned_losses(model, loss, folder / loss, batch_size=1) for loss in ROWS}
    rank = torch.distributed.get_rank()
    sharded = sharded_losses(model, torch.distributed.get_world_size(), rank)
    if rank == 0:
        (folder / "losses.json").write_text(json.dumps({**tuned, "sharded": sharded}))
    torch.distributed.destroy_process_group()
