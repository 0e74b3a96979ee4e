"""Starting weights in which copying already works.

Induction heads (find where the last tokens stood before, repeat what followed: Olsson et al. 2022, 2209.11895) take tens of
millions of tokens to emerge by gradient descent. Here they are written into the first two layers by hand; training keeps and
refines them, and spends its tokens on choosing what to copy. Layout of the residual stream: one constant dimension; the token's
code (shared by `Valve`, ` valve`, `VALVE`; then its own); the codes of the two tokens before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CONSTANT, SHARED, OWN, BACK1, BACK2 = slice(0, 1), slice(1, 81), slice(81, 161), slice(161, 209), slice(209, 241)
CODE = slice(1, 161)
HEAD = 64  # dimensions of an attention head
SLOW_PAIRS = 12  # rotary pairs from this one on turn less than .001 rad a token: content can be matched at any distance


@dataclass(frozen=True)
class ModelSize:
    """Of a Llama with heads of 64. All multiples of 64, which NF4 needs; `hidden` is at least the residual stream's layout."""

    hidden: int
    layers: int
    intermediate: int


SIZES = {"small": ModelSize(256, 6, 512), "large": ModelSize(320, 8, 896)}  # 5 M and 11.5 M parameters


def build_model(tokenizer: Any, seed: int = 0, size: str = "small") -> Any:
    """A LlamaForCausalLM (fp32) of one of `SIZES` with seeded induction heads."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sft.pretrain_tokenizer import MAX_TOKENS

    torch.manual_seed(seed)
    shape = SIZES[size]
    heads = shape.hidden // HEAD
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=HEAD,
        max_position_embeddings=MAX_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": 1e8},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        _write_codes(model.model.embed_tokens.weight, tokenizer)
        projection = _orthonormal(48, CODE.stop - CODE.start)
        _write_back(model.model.layers[0].self_attn, 0, 1, projection, BACK1)
        _write_back(model.model.layers[0].self_attn, 1, 2, projection[:32], BACK2)
        basis = _orthonormal(160, 160)
        for head in range(3):
            _write_induction(model.model.layers[1].self_attn, head, projection, basis[head * HEAD : (head + 1) * HEAD])
        _write_same_word(model.model.layers[1].self_attn, 3)
        _write_same_word(model.model.layers[2].self_attn, 0)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    return model


def _orthonormal(rows: int, columns: int) -> Any:
    import torch

    return torch.linalg.qr(torch.randn(columns, rows))[0].T


def _write_codes(embedding: Any, tokenizer: Any) -> None:
    """embedding: (vocabulary, hidden). Tokens that differ in case or leading space share half of their code."""
    import torch

    shared: dict[str, Any] = {}
    embedding.normal_(0, 0.004)
    for token in range(embedding.shape[0]):
        text = tokenizer.decode([token]).strip().lower() or str(token)
        if text not in shared:
            shared[text] = torch.nn.functional.normalize(torch.randn(SHARED.stop - SHARED.start), dim=0)
        embedding[token, SHARED] = shared[text]
        embedding[token, OWN] = torch.nn.functional.normalize(torch.randn(OWN.stop - OWN.start), dim=0) * 0.7
        embedding[token, CONSTANT] = 1.0


def _write_back(attention: Any, head: int, distance: int, projection: Any, target: slice) -> None:
    """This head looks `distance` tokens back, by position alone, and writes that token's projected code to `target`."""
    import torch

    rows, half = slice(head * HEAD, (head + 1) * HEAD), HEAD // 2
    query, key = torch.zeros(HEAD), torch.zeros(HEAD)
    frequency = 1e8 ** (-torch.arange(half) / half)
    used = torch.arange(half) < 8
    query[:half], query[half:] = torch.cos(frequency * distance) * used, -torch.sin(frequency * distance) * used
    key[:half] = used.float()
    attention.q_proj.weight[rows] *= 0.1
    attention.k_proj.weight[rows] *= 0.1
    attention.q_proj.weight[rows, 0], attention.k_proj.weight[rows, 0] = query, key
    width = projection.shape[0]
    attention.v_proj.weight[rows] = 0.0
    attention.v_proj.weight[rows.start : rows.start + width, CODE] = projection
    attention.o_proj.weight[:, rows] = 0.0
    attention.o_proj.weight[target, rows.start : rows.start + width] = torch.eye(width) * 0.12


def _write_induction(attention: Any, head: int, projection: Any, copied: Any) -> None:
    """Attend to the token after an earlier occurrence of the last two tokens, and write its code (rows `copied` of it)."""
    import torch

    rows = slice(head * HEAD, (head + 1) * HEAD)
    slow = _slow_rows(head)
    one, two = torch.randn(len(slow), 48) / len(slow) ** 0.5, torch.randn(len(slow), 32) / len(slow) ** 0.5
    for weight in (attention.q_proj.weight, attention.k_proj.weight):
        weight[rows] *= 0.1
    attention.q_proj.weight[slow, CODE] = one @ projection * 1.4
    attention.q_proj.weight[slow, BACK1.start : BACK1.start + 32] = two * 1.2
    attention.k_proj.weight[slow, BACK1] = one * 1.4
    attention.k_proj.weight[slow, BACK2] = two * 1.2
    width = copied.shape[0]
    attention.v_proj.weight[rows] = 0.0
    attention.v_proj.weight[rows.start : rows.start + width, CODE] = copied
    attention.o_proj.weight[:, rows] = 0.0
    attention.o_proj.weight[CODE, rows.start : rows.start + width] = copied.T * 0.3


def _write_same_word(attention: Any, head: int) -> None:
    """Attend to earlier tokens of the same word: query and key start as the same projection (mimetic initialisation)."""
    import torch

    rows, slow = slice(head * HEAD, (head + 1) * HEAD), _slow_rows(head)
    match = torch.randn(len(slow), SHARED.stop - SHARED.start) / len(slow) ** 0.5
    for weight in (attention.q_proj.weight, attention.k_proj.weight):
        weight[rows] *= 0.1
        weight[slow, SHARED] = match


def _slow_rows(head: int) -> list[int]:
    """The rows of `head` that rotate slowly: dimension i turns together with i + HEAD / 2."""
    return [head * HEAD + half + i for half in (0, HEAD // 2) for i in range(SLOW_PAIRS, HEAD // 2)]
