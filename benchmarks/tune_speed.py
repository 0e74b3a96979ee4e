"""Tuning throughput: our trainer against TRL with its defaults, side by side on the sample corrections.

Both arms load the bundled model in NF4, put the same LoRA on it, and take the same updates: the same rows, batch size 8 (TRL's
default), learning rate, linear schedule and number of epochs. They run at the same time, one thread each, so that both meet
the same load. `python -m benchmarks.tune_speed` prints the table of docs/tuning.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "data"
LEARNING_RATE = 2e-3


def load() -> tuple[Any, Any, Any, Any]:
    """(model, tokenizer, training rows, validation rows)"""
    from emendo.base_model import load_base, stop_token_ids
    from emendo.chat_models import resolve_base
    from sft.corrections import read_corrections
    from sft.encoding import encode
    from sft.examples import build_examples

    model, tokenizer = load_base(resolve_base("bundled"), "nf4", training=True)
    data = build_examples(read_corrections(DATA / "corrections.jsonl"))
    stops = stop_token_ids(model, tokenizer)
    train, validation = ([encode(row, tokenizer, stops) for row in rows] for rows in (data.train, data.validation))
    return model, tokenizer, train, validation


def plain(run: Path, epochs: int) -> Any:
    """SFTTrainer as TRL sets it up, but for what the comparison fixes."""
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from sft.trainer import to_dataset

    model, tokenizer, train, validation = load()
    arguments = SFTConfig(
        output_dir=str(run),
        learning_rate=LEARNING_RATE,
        num_train_epochs=epochs,
        completion_only_loss=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return SFTTrainer(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        peft_config=lora,
        train_dataset=to_dataset(train),
        eval_dataset=to_dataset(validation),
    )


def ours(run: Path, epochs: int) -> Any:
    from sft.train import TuneSettings, build_trainer

    model, tokenizer, train, validation = load()
    settings = TuneSettings(
        dropout=0.0, learning_rate=LEARNING_RATE, schedule="linear", floor=0.0, warmup_share=0.0, batch_size=8, epochs=epochs
    )
    trainer = build_trainer(model, tokenizer, train, validation, run, settings, lambda *_: None)
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    return trainer


def measure(arm: str, epochs: int) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as run:
        trainer = {"plain": plain, "ours": ours}[arm](Path(run), epochs)
        tokens = epochs * sum(len(ids) for ids in load()[2] for ids in [ids.input_ids])
        wall, busy = time.perf_counter(), time.process_time()
        trainer.train()
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        last = losses[-len(losses) // epochs :]
        validation = trainer.evaluate()["eval_loss"]
    steps = len(losses)
    return {
        "tokens": tokens,
        "updates": steps,
        "wall_s": wall,
        "cpu_s": busy,
        "last_epoch_loss": sum(last) / len(last),
        "validation_loss": validation,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arm", choices=("plain", "ours"), help="only this one, as JSON")
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(measure(given.arm, given.epochs)))
        return
    command = [sys.executable, "-m", "benchmarks.tune_speed", "--epochs", str(given.epochs), "--arm"]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = {
        arm: subprocess.Popen([*command, arm], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet)
        for arm in ("plain", "ours")
    }
    found = {arm: json.loads(process.communicate()[0].splitlines()[-1]) for arm, process in running.items()}
    print("| | tokens | updates | CPU s | tokens per CPU s | wall s | training loss, last epoch | validation loss |")
    print("|---|---|---|---|---|---|---|---|")
    for arm, name in (("plain", "plain TRL"), ("ours", "emendo")):
        row = found[arm]
        speed = row["tokens"] / row["cpu_s"]
        print(
            f"| {name} | {row['tokens']:,} | {row['updates']} | {row['cpu_s']:.1f} | {speed:,.0f} | {row['wall_s']:.1f} "
            f"| {row['last_epoch_loss']:.3f} | {row['validation_loss']:.3f} |"
        )
    print(f"\nspeed-up: {found['plain']['cpu_s'] / found['ours']['cpu_s']:.2f}x by CPU time")


if __name__ == "__main__":
    main()
