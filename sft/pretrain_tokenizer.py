"""The small model's tokenizer: cased byte-level BPE whose digits stand alone, and its chat template."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

BOS, EOS, PAD, USER, ASSISTANT = SPECIAL = ("<|begin|>", "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>")
MAX_TOKENS = 2048
# A citation is one token, a digit is one token, and neither ever merges with its neighbours: both are copied exactly.
PIECES = r" ?\[\d\]| ?\p{L}+| ?\p{N}|\n+| ?[^\s\p{L}\p{N}]+?(?=[\s\p{L}\p{N}]|$)|\s+"
# The question is read first as well as last: while it reads a passage, a causal model then knows what to look for (question-aware
# contextualisation: Liu et al. 2023, 2307.03172, section 4.2). The system turn is not rendered: the model knows one task only.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}<|user|>{% set parts = message['content'].split('\n\nQuestion: ') %}"
    "{% if parts | length > 1 %}{{ parts[-1] + '\n\n' }}{% endif %}{{ message['content'] }}<|end|>"
    "{% elif message['role'] == 'assistant' %}<|assistant|>{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int = 4096) -> Any:
    """A PreTrainedTokenizerFast of `vocabulary` tokens learned from `texts`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PIECES), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    fast.chat_template = TEMPLATE
    return fast
