"""Starting weights in which copying already works.

Induction heads (find where the last tokens stood before, repeat what followed: Olsson et al. 2022, 2209.11895) take tens of
millions of tokens to emerge by gradient descent. Here they are written into the first two layers by hand; training keeps and
refines them, and spends its tokens on choosing what to copy. Layout of the residual stream: one constant dimension; the token's
code (shared by `Valve`, ` valve`, `VALVE`; then its own); the codes of the two tokens before it.
"""

from __future__ import annotations

import re
from typing import Any

from sft.pretrain_corpus import STOP_WORDS
from sft.pretrain_tokenizer import ASSISTANT, BOS, MAX_TOKENS, USER

CONSTANT, SHARED, OWN, BACK1, BACK2 = slice(0, 1), slice(1, 81), slice(81, 161), slice(161, 209), slice(209, 241)
CODE, STARTED = slice(1, 161), slice(161, 241)  # from the third layer on, STARTED holds the token that began the sentence
# One dimension each. Of the token: it ends a sentence, numbers a passage, opens the user's or the assistant's turn, is the first.
ENDS, NUMBERS, USER_TURN, ASSISTANT_TURN, FIRST = 241, 242, 243, 244, 245
ASKED, MATCHES, SCORE, BEGINS = 246, 247, 248, 249  # computed: in the question, stands in the question, mean of MATCHES, after ENDS
SLOW_PAIRS = 12  # rotary pairs from this one on turn less than .001 rad a token: content can be matched at any distance


def build_model(
    tokenizer: Any, seed: int = 0, hidden: int = 256, layers: int = 6, heads: int = 4, intermediate: int = 512
) -> Any:
    """A LlamaForCausalLM (fp32) of about 5 M parameters with seeded induction heads."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    hidden, layers, heads, intermediate = 256, 6, 4, 512  # multiples of 64, which NF4 needs
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=hidden // heads,
        max_position_embeddings=MAX_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": 1e8},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight[ENDS:] = 0.0
        _write_codes(model.model.embed_tokens.weight, tokenizer)
        size, projection = hidden // heads, _orthonormal(48, CODE.stop - CODE.start)
        _write_back(model.model.layers[0].self_attn, 0, size, 1, projection, BACK1)
        _write_back(model.model.layers[0].self_attn, 1, size, 2, projection[:32], BACK2)
        basis = _orthonormal(160, 160)
        for head in range(3):
            _write_induction(model.model.layers[1].self_attn, head, size, projection, basis[head * size : (head + 1) * size])
        _write_selection([layer.self_attn for layer in model.model.layers], size)
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
        rare = len(text) > 2 and text not in STOP_WORDS
        embedding[token, SHARED] = shared[text] * (1.0 if rare else 0.55)
        embedding[token, CONSTANT] = 1.0
        embedding[token, ENDS] = float(tokenizer.decode([token])[-1:] in (".", "\n", "!"))
        embedding[token, NUMBERS] = float(bool(re.fullmatch(r" ?\[\d\]", tokenizer.decode([token]))))
    for text, flag in ((USER, USER_TURN), (ASSISTANT, ASSISTANT_TURN), (BOS, FIRST)):
        embedding[tokenizer.convert_tokens_to_ids(text), flag] = 1.0
    own = torch.nn.functional.normalize(torch.randn(embedding.shape[0], OWN.stop - OWN.start), dim=1)
    rest = embedding.square().sum(1, keepdim=True)
    embedding[:, OWN] = own * (3.0 - rest).clamp(min=0.3).sqrt()  # equal norms: attention by position alone is then exact


def _write_back(attention: Any, head: int, size: int, distance: int, projection: Any, target: slice) -> None:
    """This head looks `distance` tokens back, by position alone, and writes that token's projected code to `target`."""
    import torch

    rows, half = slice(head * size, (head + 1) * size), size // 2
    query, key = torch.zeros(size), torch.zeros(size)
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


def _write_induction(attention: Any, head: int, size: int, projection: Any, copied: Any) -> None:
    """Attend to the token after an earlier occurrence of the last two tokens, and write its code (rows `copied` of it)."""
    import torch

    rows = slice(head * size, (head + 1) * size)
    slow = _slow_rows(head, size)
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


def _write_selection(attention: Any, size: int) -> None:
    """Find the sentence that shares most words with the question, and start with its first token.

    Layer 0 marks the question's tokens; 1 marks passage tokens that stand in the question; 2 averages these marks over the last
    twenty tokens or so and fetches the token that began the sentence; 3 looks from the answer's start for the sentence end with
    the highest average.
    """
    import torch

    def clear(layer: int, head: int) -> tuple[Any, Any, Any, Any, int, list[int]]:
        rows, a = slice(head * size, (head + 1) * size), attention[layer]
        for weight in (a.q_proj.weight, a.k_proj.weight, a.v_proj.weight):
            weight[rows] *= 0.1
        a.o_proj.weight[:, rows] *= 0.1
        return a.q_proj.weight, a.k_proj.weight, a.v_proj.weight, a.o_proj.weight, rows.start, _slow_rows(head, size)

    for a in attention:
        a.o_proj.weight[ENDS:] = 0.0  # nothing else writes to the dimensions of marks
    q, k, v, o, at, slow = clear(0, 2)
    q[slow[-1], 0], k[slow[-1], USER_TURN], k[slow[-1], NUMBERS] = 1.0, 0.6, 1.2
    v[at, USER_TURN], o[ASKED, at] = 0.1, 1.0
    attention[0].v_proj.weight[48, ENDS], attention[0].o_proj.weight[BEGINS, 48] = 0.1, 1.0  # the head that looks one back

    q, k, v, o, at, slow = clear(1, 3)
    match = torch.randn(len(slow) - 1, SHARED.stop - SHARED.start) / len(slow) ** 0.5 * 1.5
    q[slow[:-1], SHARED], k[slow[:-1], SHARED] = match, match
    q[slow[-1], 0], k[slow[-1], ASKED], k[slow[-1], FIRST] = 0.7, 0.7, 1.9  # the first token is attended when nothing matches
    v[at, ASKED], o[MATCHES, at] = 0.125, 1.0

    q, k, v, o, at, slow = clear(2, 1)
    _write_near(q, k, at, size, pairs=(4, 5, 6), phase=-0.3, gain=0.53)
    q[slow[-1], 0], k[slow[-1], MATCHES] = 0.8, 0.8
    v[at, MATCHES], v[at, ASKED], o[SCORE, at] = 0.3, -0.3, 1.0

    q, k, v, o, at, slow = clear(2, 2)
    _write_near(q, k, at, size, pairs=(5, 6, 7, 8), phase=0.4, gain=0.65)
    q[slow[-1], 0], k[slow[-1], BEGINS] = 1.3, 1.3
    code, place = _orthonormal(size, 160), _orthonormal(size, 80)
    v[at : at + size, CODE], o[STARTED, at : at + size] = code, place.T * 0.45

    q, k, v, o, at, slow = clear(3, 0)
    q[slow[-1], ASSISTANT_TURN] = 8.0
    k[slow[-1], SCORE], k[slow[-1], ENDS], k[slow[-1], ASKED] = 3.0, 1.0, -3.0
    v[at : at + size, STARTED], o[CODE, at : at + size] = place, code.T * 0.8


def _write_near(query: Any, key: Any, at: int, size: int, pairs: tuple[int, ...], phase: float, gain: float) -> None:
    """Prefer what stands nearby: the score falls with the distance as cos(frequency * distance + phase) does."""
    import math

    for pair in pairs:
        query[at + pair, 0], query[at + pair + size // 2, 0] = gain * math.cos(phase), gain * math.sin(phase)
        key[at + pair, 0] = gain


def _slow_rows(head: int, size: int) -> list[int]:
    """The rows of `head` that rotate slowly: dimension i turns together with i + size / 2."""
    return [head * size + half + i for half in (0, size // 2) for i in range(SLOW_PAIRS, size // 2)]
