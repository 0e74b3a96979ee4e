"""Tiny random models in the shape of each model family, with its chat template and stop tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# TRL ships the templates of most families. The two it does not are written here to the same format: Mistral 7B v0.3 puts the
# system message into the last user turn, and only while that is the last message of all; SmolLM3 puts its mode into the header.
MISTRAL = (
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set ns.system = m['content'] %}"
    "{% elif m['role'] == 'user' %}"
    "{{ '[INST] ' + (ns.system + '\n\n' if loop.last and ns.system else '') + m['content'] + '[/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
SMOLLM3 = (
    "{% set thinks = enable_thinking is not defined or enable_thinking %}{% set turns = messages %}"
    "{{ '<|im_start|>system\n## Metadata\n\nReasoning Mode: ' + ('/think' if thinks else '/no_think') + '\n\n' }}"
    "{% if messages[0]['role'] == 'system' %}{{ '## Custom Instructions\n\n' + messages[0]['content'] + '\n\n' }}"
    "{% set turns = messages[1:] %}{% endif %}{{ '<|im_end|>\n' }}"
    "{% for m in turns %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and not thinks %}{{ '<think>\n\n</think>\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' + ('' if thinks else '<think>\n\n</think>\n') }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    config: str  # class in transformers
    template: str  # TRL's file, or the template itself
    special: tuple[str, ...]
    stops: tuple[str, ...]  # the last one ends a turn
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def chat_template(self) -> str:
        if not self.template.endswith(".jinja"):
            return self.template
        import trl

        return (Path(trl.__file__).parent / "chat_templates" / self.template).read_text(encoding="utf-8")


CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FAMILIES = {
    "llama3": Family(
        "LlamaConfig",
        "llama3.jinja",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ("<|end_of_text|>", "<|eot_id|>"),
    ),
    "qwen2.5": Family("Qwen2Config", "qwen2_5.jinja", CHATML, ("<|endoftext|>", "<|im_end|>")),
    "qwen3": Family("Qwen3Config", "qwen3.jinja", (*CHATML, "<think>", "</think>"), ("<|endoftext|>", "<|im_end|>")),
    "gemma3": Family(
        "Gemma3TextConfig",
        "gemma3.jinja",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        ("<eos>", "<end_of_turn>"),
        {"query_pre_attn_scalar": 16, "sliding_window": 32, "layer_types": ["sliding_attention"]},
    ),
    "mistral": Family("MistralConfig", MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), ("</s>",)),
    "phi3": Family(
        "Phi3Config",
        "phi3.jinja",
        ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        ("<|endoftext|>", "<|end|>"),
    ),
    "smollm3": Family("SmolLM3Config", SMOLLM3, (*CHATML, "<think>", "</think>"), ("<|endoftext|>", "<|im_end|>")),
}


def make_family(name: str, folder: Path) -> Path:
    """Save the family's tiny model and byte-level tokenizer to `folder`; pads on the left, as many tokenizers come."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    family = FAMILIES[name]
    special = ["<pad>", *family.special]
    vocabulary = {token: i for i, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(special)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token=special[1], eos_token=family.stops[0], padding_side="left"
    )
    tokenizer.chat_template = family.chat_template
    torch.manual_seed(0)
    stops = [vocabulary[token] for token in family.stops]
    config = getattr(transformers, family.config)(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=2048,
        initializer_range=0.2,  # so that adapters on the linear layers alone can overfit it
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=stops,
        **family.options,
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
