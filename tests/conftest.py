"""Fixtures shared by the tests: a tiny random model with a chat template, chunks, hits, corrections."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from emendo.records import Chunk, Correction, Hit

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real manuals with human questions, kept beside the repository and never in it."""
    if not SHARED.is_dir():
        pytest.skip("real manuals are not at ../shared/data on this machine")
    return SHARED


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained two-layer Llama with a byte-level tokenizer; NF4 needs hidden sizes in multiples of 64."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*special, *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=None,
        initializer_range=0.2,  # so that adapters on the linear layers alone can overfit it
    )
    folder = tmp_path_factory.mktemp("tiny-model")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_chunk(chunk_id: str, text: str, section: tuple[str, ...] = ("Care",), product: str = "Kettle K1") -> Chunk:
    header = " > ".join((product, *section))
    return Chunk(chunk_id, "kettle", "Kettle K1", product, section, text, header, pages=(3,), source="kettle.pdf")


PASSAGES = (
    make_chunk("c1", "Descale the kettle every 3 months. Use citric acid only.", ("Care", "Descaling")),
    make_chunk("c2", "The base draws 2,200 W. Use an earthed socket.", ("Safety", "Power")),
    make_chunk("c3", "The light turns amber at 95 °C.", ("Use", "Lights")),
)


@pytest.fixture
def hits() -> tuple[Hit, ...]:
    return tuple(Hit(chunk, 1.0 / rank, rank) for rank, chunk in enumerate(PASSAGES, 1))


@pytest.fixture
def correction(hits: tuple[Hit, ...]) -> Correction:
    return Correction(
        correction_id="k1",
        answer_id="",
        question="how often do i descale",
        hits=hits,
        rejected="Use an earthed socket. [2]",
        corrected="Descale the kettle every 3 months. [1]",
        evidence=("c1",),
        should_abstain=False,
        reason="wrong",
        author="ana",
        at="2026-01-01T00:00:00+00:00",
        cluster="kettle/Care > Descaling",
    )
