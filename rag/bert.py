"""The forward pass of a BERT sentence embedder (Devlin et al. 2019, mean pooling as in Reimers & Gurevych 2019).

The same vectors as sentence-transformers gives, without loading it: half the memory and a fifth of the start-up, texts of like
length computed together, and bfloat16 where the processor multiplies it natively. A text's vector does not depend on what is
computed with it: alone or together, it is padded to the same length (in bfloat16 another one moves values by up to .0015).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

_TOKENS_AT_ONCE = 1024  # in one forward pass, padding included: what larger ones need, the C library keeps (100 MB at 2048)
_PADDED_TO = 8  # tokens: every new shape costs the matrix library memory for good (87 of 500 MB with none of this)
_POOLING = {"pooling_mode_mean_tokens"}
_TEXTS_READ = 4096  # whose words are kept: the same passages are found for many questions


def can_load(folder: Path) -> bool:
    """Whether the model in `folder` is one this file computes: BERT, mean pooling, normalised."""
    config, modules = _read(folder / "config.json"), _read(folder / "modules.json")
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if config.get("model_type") != "bert" or kinds != ["Transformer", "Pooling", "Normalize"]:
        return False
    pooling = _read(folder / modules[1]["path"] / "config.json")
    usual = config.get("hidden_act") == "gelu" and config.get("position_embedding_type", "absolute") == "absolute"
    return usual and {name for name, on in pooling.items() if name.startswith("pooling_mode") and on is True} == _POOLING


class BertEncoder:
    """Texts to normalised vectors with the weights of one folder, and with those of a LoRA adapter where one is given."""

    def __init__(self, folder: Path, max_tokens: int, adapter: Path | None = None):
        import torch
        from tokenizers import Tokenizer

        self._config = _read(folder / "config.json")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._word_ids = lru_cache(_TEXTS_READ)(self._read_word_ids)
        dtype = torch.bfloat16 if has_native_bfloat16() else torch.float32
        weights = read_weights(folder, adapter)
        self._weights = {name: value.to(dtype) for name, value in weights.items() if value.is_floating_point()}
        # in the matrix library's own layout: it would rearrange them for every product, a fifth of a question's time
        self._packed: dict[str, torch.Tensor] = {}
        if dtype == torch.bfloat16 and torch.backends.mkldnn.is_available():
            for name in [name for name, value in self._weights.items() if name.startswith("encoder.") and value.dim() == 2]:
                self._packed[name] = torch.ops.mkldnn._reorder_linear_weight(self._weights.pop(name), _TOKENS_AT_ONCE)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32 of shape (len(texts), dimension), rows of length 1, in the order given."""
        import torch

        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        vectors = torch.empty(len(ids), self._config["hidden_size"])
        with torch.inference_mode():
            for rows in _batches([len(row) for row in ids]):
                vectors[rows] = self._embed([ids[row] for row in rows])
        return vectors.numpy()

    def word_vectors(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The input embeddings of each text's different words (word pieces), shape (words, dimension), rows of length 1."""
        import numpy as np
        import torch
        import torch.nn.functional as F

        ids = [self._word_ids(text) for text in texts]
        table = self._weights["embeddings.word_embeddings.weight"]
        vectors = F.normalize(table[torch.from_numpy(np.concatenate(ids))].float(), dim=1)
        return np.split(vectors.numpy(), np.cumsum([len(row) for row in ids])[:-1])

    def _read_word_ids(self, text: str) -> np.ndarray:
        import numpy as np

        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        pieces = zip(encoding.ids, encoding.offsets, strict=True)
        ids = sorted({piece for piece, (start, end) in pieces if any(c.isalnum() for c in text[start:end])})
        return np.array(ids, dtype=np.int64)

    def _embed(self, ids: list[list[int]]) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
        word, position, kind = (self._weights[f"embeddings.{name}.weight"] for name in names)
        longest = min(_padded(max(map(len, ids))), len(position))
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        held = torch.arange(longest) < torch.tensor([len(row) for row in ids])[:, None]  # (texts, longest), False is padding
        mask = held[:, None, None, :]
        state = self._norm("embeddings.LayerNorm", F.embedding(tokens, word) + position[:longest] + kind[0])
        for layer in range(self._config["num_hidden_layers"]):
            state = self._layer(f"encoder.layer.{layer}", state, mask)
        kept = held[..., None].float()
        return F.normalize((state.float() * kept).sum(1) / kept.sum(1), dim=1)

    def _layer(self, name: str, state: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F

        heads = (*state.shape[:2], self._config["num_attention_heads"], -1)
        query, key, value = (
            self._linear(f"{name}.attention.self.{part}", state).view(heads).transpose(1, 2) for part in ("query", "key", "value")
        )
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).reshape(state.shape)
        state = self._norm(f"{name}.attention.output.LayerNorm", state + self._linear(f"{name}.attention.output.dense", seen))
        wide = F.gelu(self._linear(f"{name}.intermediate.dense", state))
        return self._norm(f"{name}.output.LayerNorm", state + self._linear(f"{name}.output.dense", wide))

    def _linear(self, name: str, state: torch.Tensor) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        weight, bias = f"{name}.weight", self._weights[f"{name}.bias"]
        if weight in self._packed:
            return torch.ops.mkldnn._linear_pointwise(state, self._packed[weight], bias, "none", [], "")
        return F.linear(state, self._weights[weight], bias)

    def _norm(self, name: str, state: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F

        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(state, weight.shape, weight, bias, self._config["layer_norm_eps"])


def read_weights(folder: Path, adapter: Path | None = None) -> dict[str, torch.Tensor]:
    """Of the model in `folder`, plus the LoRA adapter (Hu et al. 2021) in the folder `adapter`, laid out as PEFT does."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    if adapter is not None:
        config = _read(adapter / "adapter_config.json")
        changes = load_file(adapter / "adapter_model.safetensors")
        for name in [name for name in changes if name.endswith(".lora_A.weight")]:
            changed = name.removeprefix("base_model.model.").replace(".lora_A.", ".")
            product = changes[name.replace(".lora_A.", ".lora_B.")].float() @ changes[name].float()
            weights[changed] = weights[changed].float() + config["lora_alpha"] / config["r"] * product
    return weights


def has_native_bfloat16() -> bool:
    """Whether bfloat16 products are the processor's own; emulated ones are slower than float32."""
    import torch

    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _padded(length: int) -> int:
    return -(-length // _PADDED_TO) * _PADDED_TO


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows of one padded length, longest first: memory peaks at once or never."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        padded = _padded(lengths[row])
        if batch and (padded != _padded(lengths[batch[0]]) or (len(batch) + 1) * padded > _TOKENS_AT_ONCE):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
