"""Messages to token ids through a model's own chat template, the same for serving and for tuning."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

Message = dict[str, str]


def render(tokenizer: Any, messages: Sequence[Message], generate: bool) -> list[int]:
    """Token ids of the conversation, thinking off; with `generate` up to where the answer begins.

    The system message goes into the first user turn where the template has no place for it (Gemma 2), or moves it once an answer
    follows (Mistral 7B v0.3), which would train on another prompt than the one that is served.
    """
    given = [dict(message) for message in messages]
    if folds_system(tokenizer) and len(given) > 1 and given[0]["role"] == "system":
        system, first, *rest = given
        given = [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
    options = {"add_generation_prompt": generate, "return_dict": True, "enable_thinking": False}
    return list(tokenizer.apply_chat_template(given, **options)["input_ids"])


@functools.lru_cache(maxsize=8)
def folds_system(tokenizer: Any) -> bool:
    """Whether this template needs the system message in the first user turn."""
    prompt = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    options = {"tokenize": False, "enable_thinking": False}
    try:
        asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, **options)
        whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": "A"}], **options)
    except TemplateError:
        return True
    return not whole.startswith(asked)
