"""Train the bundled small model from scratch, on one CPU core or a GPU: `python -m sft.pretrain --minutes 60 --out data/model`.

A 5 M Llama that answers from numbered passages: it finds the sentence, row or steps that hold the answer, repeats them word for
word with their citation, and refuses when there are none. It cannot paraphrase and knows nothing.

Steps: fetch the documentation (sft.pretrain_corpus) -> tokenizer (sft.pretrain_tokenizer) -> weights in which copying already
works (sft.pretrain_init) -> rows from grammar and documentation, short ones first (sft.pretrain_rows) -> this loop, Muon for the
matrices and AdamW for the rest -> figures on unseen manuals (sft.pretrain_probe). Every few minutes the folder `--out` holds a
usable model; `--resume` goes on from `--work`. Then `--start data/model` trains on with rows and choices as they are served
(sft.pretrain_served). The bundled version took 106 minutes on one shared core; data/model/README.md has what it reaches.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emendo.records import UserError
from sft.grammar import Manual, Passage, make_manual
from sft.pretrain_corpus import fetch, read_manuals
from sft.pretrain_hints import IGNORED, build_hints, hint_loss
from sft.pretrain_init import SIZES, build_model
from sft.pretrain_probe import exam_rows, score
from sft.pretrain_rows import Tokens, batches
from sft.pretrain_served import served_batches, served_loss
from sft.pretrain_tokenizer import train_tokenizer

log = logging.getLogger("pretrain")


@dataclass(frozen=True)
class PretrainSettings:
    minutes: float = 60.0
    batch_tokens: int = 4096
    matrix_lr: float = 3e-3  # Muon, scaled to AdamW's update size
    other_lr: float = 1.5e-3  # AdamW: embedding and norms
    warmup_steps: int = 40
    exam_minutes: float = 6.0
    exam_rows: int = 48  # of each kind
    pages_per_source: int = 450
    size: str = "small"  # of a new model: sft.pretrain_init.SIZES
    start: str = ""  # a trained model's folder: go on from it with rows as served (sft.pretrain_served)
    seed: int = 1


@dataclass
class Progress:
    """What a resumed run must know."""

    seconds: float = 0.0
    steps: int = 0
    tokens: int = 0


def pretrain(settings: PretrainSettings, out: Path, work: Path, resume: bool = False) -> dict[str, Any]:
    """Train for `settings.minutes` (a resumed run's earlier time counted in); returns the last figures, also saved in `out`."""
    import torch

    work.mkdir(parents=True, exist_ok=True)
    pages, unseen = _pages(settings, work)
    tokenizer, model = _model(settings, work, pages, resume)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    hints = build_hints(model)
    optimizers = _optimizers(model, hints, settings)
    progress = _load(work, model, hints, optimizers) if resume else Progress()
    exams = {"documentation": exam_rows(settings.exam_rows, unseen), "invented": exam_rows(settings.exam_rows, ())}
    total, begun, earlier = settings.minutes * 60, time.monotonic(), progress.seconds

    def gone() -> float:
        progress.seconds = earlier + time.monotonic() - begun
        return min(progress.seconds / total, 1.0)

    rng = random.Random(f"{settings.seed}-{progress.steps}")
    figures: dict[str, Any] = {}
    next_exam, loss_sum, loss_count = progress.seconds + settings.exam_minutes * 60, 0.0, 0
    if settings.start:
        stream = served_batches(rng, tokenizer, pages, settings.batch_tokens)
    else:
        stream = batches(rng, gone, tokenizer, pages, settings.batch_tokens)
    for batch in stream:
        _set_rates(optimizers, settings, progress.steps, gone())
        loss_sum, loss_count = loss_sum + _step(model, hints, optimizers, batch), loss_count + 1
        progress.steps += 1
        progress.tokens += sum(len(row.ids) for row in batch)
        if progress.steps % 25 == 0:
            state = (progress.seconds / 60, progress.steps, progress.tokens / 1e6, loss_sum / loss_count)
            log.info("%5.1f min step %d tokens %.2f M answer loss %.3f", *state)
            loss_sum, loss_count = 0.0, 0
        done = gone() >= 1.0
        if done or progress.seconds >= next_exam:
            _save(work, model, hints, optimizers, progress)
            figures = {**asdict(progress), **_examine(model, tokenizer, exams)}
            log.info("exam %s", json.dumps(figures))
            publish(model, tokenizer, out, figures)
            next_exam = progress.seconds + settings.exam_minutes * 60
        if done:
            break
    return figures


def _examine(model: Any, tokenizer: Any, exams: dict[str, Any]) -> dict[str, Any]:
    model.eval()
    figures = {name: score(model, tokenizer, rows) for name, rows in exams.items()}
    model.train()
    return figures


def _pages(settings: PretrainSettings, work: Path) -> tuple[list[Manual], list[Manual]]:
    """Training and held-out documentation, parsed once and kept in `work`."""
    kept = work / "pages.json"
    if not kept.is_file():
        fetch(work / "packages")
        read = [read_manuals(work / "packages", held_out, settings.pages_per_source) for held_out in (False, True)]
        kept.write_text(json.dumps([[[asdict(p) for p in m.passages] for m in manuals] for manuals in read]), encoding="utf-8")
    sets = json.loads(kept.read_text(encoding="utf-8"))
    train, unseen = (
        [Manual(tuple(Passage(p["header"], tuple(map(tuple, p["paragraphs"]))) for p in m), ()) for m in manuals]
        for manuals in sets
    )
    return train, unseen


def _model(settings: PretrainSettings, work: Path, pages: Sequence[Manual], resume: bool) -> tuple[Any, Any]:
    """(tokenizer, model): those of `settings.start`, or new ones."""
    if not settings.start:
        tokenizer = _tokenizer(settings, work, pages, resume)
        return tokenizer, build_model(tokenizer, settings.seed, settings.size)
    from emendo.base_model import load_base

    model, tokenizer = load_base(settings.start, "fp32")
    return tokenizer, model.train()


def _tokenizer(settings: PretrainSettings, work: Path, pages: Sequence[Manual], resume: bool) -> Any:
    from transformers import AutoTokenizer

    if resume and (work / "tokenizer").is_dir():
        return AutoTokenizer.from_pretrained(work / "tokenizer")
    rng = random.Random(settings.seed)
    invented = [make_manual(rng, 4) for _ in range(2500)]
    manuals = [*rng.sample(list(pages), min(len(pages), 700)), *invented]
    texts = [f"[{n}] {p.header}\n{p.text()}" for manual in manuals for n, p in enumerate(manual.passages, 1)]
    texts += [f"{ask.question} {ask.units[-1]} [{n % 8 + 1}]" for m in invented for n, ask in enumerate(m.asks)]
    tokenizer = train_tokenizer(texts)
    tokenizer.save_pretrained(work / "tokenizer")
    return tokenizer


def _optimizers(model: Any, hints: Any, settings: PretrainSettings) -> list[Any]:
    """Muon (momentum, then orthogonalised updates; torch.optim.Muon) learns hidden matrices in about half of AdamW's tokens."""
    import torch

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    rest += list(hints.parameters())
    muon = torch.optim.Muon(matrices, lr=settings.matrix_lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=settings.other_lr, betas=(0.9, 0.98), weight_decay=0.0)]


def _set_rates(optimizers: Sequence[Any], settings: PretrainSettings, step: int, gone: float) -> None:
    """Warm-up, then level, then along a cosine to 4 % over the last 60 % of the time; all along to 0 from trained weights."""
    scale = min(1.0, (step + 1) / settings.warmup_steps)
    if settings.start:
        scale *= (1 + math.cos(math.pi * gone)) / 2
    elif gone > 0.4:
        scale *= 0.04 + 0.96 * (1 + math.cos(math.pi * (gone - 0.4) / 0.6)) / 2
    for optimizer, rate in zip(optimizers, (settings.matrix_lr, settings.other_lr), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * scale


def _step(model: Any, hints: Any, optimizers: Sequence[Any], batch: Sequence[Tokens]) -> float:
    """One update; returns the mean loss in nats over the tokens of the answers. UserError when it is not finite."""
    import torch

    width = max(len(row.ids) for row in batch)
    ids = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in batch], device=model.device)
    weights = torch.tensor([row.weights + [0.0] * (width - len(row.ids)) for row in batch], device=model.device)
    marks = torch.tensor(
        [[row.hints[n] + [IGNORED] * (width - len(row.hints[n])) for row in batch] for n in range(3)], device=model.device
    )
    labelled = weights[:, 1:] > 0
    with torch.autocast(model.device.type, torch.bfloat16):
        # Rows are padded on the right and attention is causal, so no mask is needed and the fast kernel is taken.
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][labelled]
        logits = model.lm_head(hidden).float()  # of labelled positions only: most of a prompt is never scored
        hinted = hint_loss(hints, model.lm_head.weight, marks) if (marks != IGNORED).any() else 0.0
    losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:][labelled], reduction="none")
    chosen = weights[:, 1:][labelled]
    if batch[0].allowed:
        answer_loss = served_loss(losses, logits, ids[:, 1:][labelled], chosen, batch)
        loss = answer_loss + 0.4 * hinted
    else:
        answer_loss = losses[chosen >= 1].mean()
        loss = (losses * chosen).sum() / chosen.sum() + 0.4 * hinted
    if not torch.isfinite(loss):
        raise UserError("the loss is not finite; resume from the last checkpoint with a lower --matrix-lr")
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(answer_loss.detach())


def publish(model: Any, tokenizer: Any, out: Path, figures: dict[str, Any]) -> None:
    """Write a model that transformers loads to `out` in bf16; each file is replaced whole, the weights last."""
    import copy

    import torch

    partial = out.with_name(out.name + ".partial")
    served = copy.deepcopy(model).to("cpu", torch.bfloat16)
    served.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (partial / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(partial.iterdir(), key=lambda f: f.suffix == ".safetensors"):
        file.chmod(0o644)  # the weights are written for their owner alone
        file.replace(out / file.name)
    partial.rmdir()


def _parameters(model: Any, hints: Any) -> list[tuple[str, Any]]:
    named = {"model": model, "hints": hints}
    return [(f"{prefix}.{name}", p) for prefix, module in named.items() for name, p in module.named_parameters()]


def _save(work: Path, model: Any, hints: Any, optimizers: Sequence[Any], progress: Progress) -> None:
    from safetensors.torch import save_file

    state = {name: p.detach().contiguous() for name, p in _parameters(model, hints)}
    for n, optimizer in enumerate(optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{n}.{index}.{key}": value.contiguous() for key, value in values.items()}
    partial = work / "state.partial"
    save_file(state, partial, metadata={"progress": json.dumps(asdict(progress))})
    partial.replace(work / "state.safetensors")


def _load(work: Path, model: Any, hints: Any, optimizers: Sequence[Any]) -> Progress:
    import torch
    from safetensors import safe_open

    if not (work / "state.safetensors").is_file():
        raise UserError(f"nothing to resume in {work}; leave out --resume")
    with safe_open(work / "state.safetensors", "pt") as state, torch.no_grad():
        for name, parameter in _parameters(model, hints):
            parameter.copy_(state.get_tensor(name))
        for n, optimizer in enumerate(optimizers):
            values: dict[int, dict[str, Any]] = {}
            for key in state.keys():  # noqa: SIM118  (safe_open is no mapping)
                kind, _, rest = key.partition(".")
                if kind == "optimizer" and rest.startswith(f"{n}."):
                    _, index, name = rest.split(".")
                    values.setdefault(int(index), {})[name] = state.get_tensor(key)
            optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
        return Progress(**json.loads(state.metadata()["progress"]))


def main(arguments: Sequence[str] | None = None, show: Callable[[str], None] = log.info) -> int:
    parser = argparse.ArgumentParser(prog="python -m sft.pretrain", description="Train the bundled small model from scratch.")
    parser.add_argument("--minutes", type=float, default=PretrainSettings.minutes, help="training time, resumed time counted in")
    parser.add_argument("--out", type=Path, default=Path("data/model"), help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("workspace/pretrain"), help="folder of documentation and checkpoints")
    parser.add_argument("--size", choices=list(SIZES), default=PretrainSettings.size, help="of a new model; large is for a GPU")
    parser.add_argument("--start", default="", help="folder of a trained model to go on from, with rows as they are served")
    parser.add_argument("--matrix-lr", type=float, default=PretrainSettings.matrix_lr)
    parser.add_argument("--seed", type=int, default=PretrainSettings.seed)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; never more than free cores")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    given = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(given.threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = PretrainSettings(
        minutes=given.minutes,
        matrix_lr=given.matrix_lr,
        other_lr=given.matrix_lr / 2,
        size=given.size,
        start=given.start,
        seed=given.seed,
    )
    try:
        show(json.dumps(pretrain(settings, given.out, given.work, given.resume)))
    except UserError as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
