"""A transformers model as a LangChain chat model: NF4 or bf16, LoRA adapters swapped while it runs, streamed, batched."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig

from emendo.base_model import load_base, stop_token_ids
from emendo.chat_template import render
from emendo.choices import ChoicePaths
from emendo.records import UserError
from emendo.text_stream import StepStreamer, TextStream
from emendo.verbatim import VerbatimPlan
from emendo.weights_lock import WeightsLock, readers_of

_STRIDE = 16  # tokens that a batch writes together before the rows that have ended leave it
_ROLES = {"system": "system", "human": "user", "ai": "assistant"}


@dataclass(frozen=True)
class Request:
    """One prompt, and what its answer must keep to: units of its passages, items of its choices, or nothing."""

    prompt: list[int]
    plan: VerbatimPlan | None = None
    choices: ChoicePaths | None = None


class HFChatModel(BaseChatModel):
    """Greedy decoding; `batch` sorts prompts by length and runs them together. Use `load`."""

    model: Any
    tokenizer: Any
    model_id: str
    adapter_id: str = ""
    max_new_tokens: int = 160
    batch_tokens: int = 8192  # rows x longest prompt decoded together
    reading_tokens: int = 2048  # the same where prompts are only read, as for verbatim answers: more leaves a processor's cache
    verbatim: bool = False  # print only units of the passages (see emendo.verbatim); prompts without passages are free
    refusal: str = ""  # what a verbatim answer may say instead of units
    refuse_above: float = 0.5  # probability of the refusal from which a verbatim answer is that; 1 never
    lock: Any = None  # WeightsLock: adapters are switched on the weights that others read

    @classmethod
    def load(cls, base: str, adapter: str | None = None, bits: str = "auto", **options: Any) -> HFChatModel:
        """Load hub id or folder `base` (`id@revision` pins a revision), then the LoRA folder `adapter`; `options` are fields."""
        model, tokenizer = load_base(base, bits)
        model.eval()
        name = "bundled" if Path(base).name == "model" and Path(base).is_dir() else base
        loaded = cls(model=model, tokenizer=tokenizer, model_id=f"hf:{name}", lock=WeightsLock(readers_of(model)), **options)
        if adapter:
            loaded.set_adapter(adapter)
        return loaded

    def set_adapter(self, folder: str | None) -> None:
        """Serve with the LoRA adapter in `folder`, or with the base model (None). Waits for the answer being written.

        Refuses an adapter made for another base or chat template, and one whose weights change nothing.
        """
        from peft import PeftModel

        with self.lock.changing():
            if folder is None:
                self.model = self.model.unload() if isinstance(self.model, PeftModel) else self.model
                self.adapter_id = ""
                return
            card = check_adapter(Path(folder), self.tokenizer, self.model.config._name_or_path)
            base = self.model.unload() if isinstance(self.model, PeftModel) else self.model
            self.model = PeftModel.from_pretrained(base, folder).eval()
            if not any(p.abs().max() > 0 for n, p in self.model.named_parameters() if "lora_B" in n):
                raise UserError(
                    f"adapter {folder}: its weights are all zero, so it changes nothing; tune it again with `emendo tune`"
                )
            self.adapter_id = str(card.get("adapter_id") or Path(folder).name)

    @property
    def context_tokens(self) -> int:
        """The longest prompt plus answer the model was made for, in its own tokens."""
        return int(getattr(self.model.config, "max_position_embeddings", 0) or 4096)

    def count_prompt_tokens(self, messages: Sequence[dict[str, str]]) -> int:
        return len(render(self.tokenizer, messages, generate=True))

    def generate_texts(self, conversations: Sequence[list[BaseMessage]]) -> list[str]:
        """Greedy completions in the order given."""
        requests = [self.encode(messages) for messages in conversations]
        order = sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt))
        texts = [""] * len(requests)
        start = 0
        while start < len(order):
            longest = requests[order[start]]
            size = max(1, self.tokens_at_once(longest) // len(longest.prompt))
            rows = order[start : start + size]
            start += size
            new = self.decode([requests[i] for i in rows])
            for row, text in zip(rows, self.tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                texts[row] = text
        return texts

    def encode(self, messages: list[BaseMessage]) -> Request:
        """What `decode` needs to answer them."""
        plain = [{"role": _ROLES[m.type], "content": str(m.content)} for m in messages]
        prompt = render(self.tokenizer, plain, generate=True)
        data = messages[-1].additional_kwargs
        if choices := data.get("choices"):
            return Request(prompt, choices=ChoicePaths(self.tokenizer, choices, sorted(self.stop_ids)))
        if self.verbatim and (passages := data.get("passages")):
            plan = VerbatimPlan(self.tokenizer, passages, self.refusal, data.get("unit_scores"))
            return Request(prompt, plan=plan)
        return Request(prompt)

    def tokens_at_once(self, request: Request) -> int:
        """Rows x longest prompt of a batch with this request. A GPU takes many rows at once, whatever is done with them.

        So do 4-bit weights, which every forward pass unpacks.
        """
        packed = getattr(self.model, "hf_quantizer", None) is not None
        return self.reading_tokens if request.plan and self.model.device.type == "cpu" and not packed else self.batch_tokens

    def decode(self, requests: Sequence[Request], streams: Sequence[TextStream] = ()) -> list[list[int]]:
        """New token ids of each request. `streams`, one for each, get them as they are written, and then their end."""
        new: list[list[int]] = [[] for _ in requests]
        with self.lock.reading():
            for planned in (False, True):
                rows = [n for n, request in enumerate(requests) if bool(request.plan) is planned]
                if not rows:
                    continue
                write = self._quote if planned else self._generate_freely
                written = write([requests[n] for n in rows], [streams[n] for n in rows] if streams else ())
                for n, ids in zip(rows, written, strict=True):
                    new[n] = ids
        return new

    @property
    def stop_ids(self) -> set[int]:
        return stop_token_ids(self.model, self.tokenizer)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """One padded batch instead of LangChain's thread per input."""
        conversations = [self._convert_input(value).to_messages() for value in inputs]
        return [AIMessage(content=text) for text in self.generate_texts(conversations)]

    @property
    def _llm_type(self) -> str:
        return "transformers"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        [text] = self.generate_texts([messages])
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Pieces as they are decoded; closing the iterator stops the generation."""
        request, stream = self.encode(messages), TextStream(self.tokenizer)
        threading.Thread(target=self._decode_into, args=(request, stream), daemon=True).start()
        for piece in stream.read():
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    def _decode_into(self, request: Request, stream: TextStream) -> None:
        try:
            self.decode([request], [stream])
        except Exception as error:  # noqa: BLE001  (carried to the reader of the stream, which raises it)
            stream.end(error)

    def _generate_freely(self, requests: Sequence[Request], streams: Sequence[TextStream]) -> list[list[int]]:
        """Token by token, as the model likes or, for rows with choices, as these allow."""
        import torch
        from transformers import StoppingCriteriaList

        from emendo.prompt_reader import left_padded

        device = next(self.model.parameters()).device
        ids, mask = left_padded([request.prompt for request in requests], self._pad, device)
        width = ids.shape[1]
        options: dict[str, Any] = {}
        if streams:
            options["streamer"] = StepStreamer(streams, self.stop_ids)
            options["stopping_criteria"] = StoppingCriteriaList(
                [lambda ids, scores, **_: torch.tensor([stream.left for stream in streams], device=ids.device)]
            )
        if any(request.choices for request in requests):
            everything = list(range(len(self.tokenizer)))

            def allowed(row: int, ids: Any) -> list[int]:
                choices = requests[row].choices
                return choices.allowed(ids[width:].tolist()) if choices else everything

            options["prefix_allowed_tokens_fn"] = allowed
        stride = self.max_new_tokens if options or len(requests) == 1 else _STRIDE
        with torch.inference_mode():
            return self._generate_in_strides(ids, mask, stride, options)

    def _generate_in_strides(self, ids: Any, mask: Any, stride: int, options: dict[str, Any]) -> list[list[int]]:
        """Rows that have ended leave the batch every `stride` tokens: else all go on for as long as the longest answer."""
        import torch

        new: list[list[int]] = [[] for _ in ids]
        rows, done, stops = list(range(len(ids))), 0, self.stop_ids
        while rows and done < self.max_new_tokens:
            out = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=min(stride, self.max_new_tokens - done),
                do_sample=False,
                pad_token_id=self._pad,
                return_dict_in_generate=True,
                **options,
            )
            written = out.sequences[:, ids.shape[1] :]
            for row, tokens in zip(rows, written.tolist(), strict=True):
                new[row] += tokens
            going = [n for n, tokens in enumerate(written.tolist()) if not stops & set(tokens)]
            done += written.shape[1]
            rows = [rows[n] for n in going]
            if rows and done < self.max_new_tokens:
                ids, mask = out.sequences[going], torch.cat([mask, torch.ones_like(written)], dim=1)[going]
                out.past_key_values.batch_select_indices(torch.tensor(going, device=ids.device))
                options = options | {"past_key_values": out.past_key_values}
        return new

    def _quote(self, requests: Sequence[Request], streams: Sequence[TextStream]) -> list[list[int]]:
        """Whole units of the passages, or the refusal."""
        from emendo.prompt_reader import PromptReader
        from emendo.quoting import decide_refusals, quote

        plans = [request.plan for request in requests if request.plan]
        reader = PromptReader(self.model, [request.prompt for request in requests], self._pad)
        decide_refusals(reader, plans, self.refuse_above)
        return quote(reader, plans, sorted(self.stop_ids), self.max_new_tokens, streams)

    @property
    def _pad(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)


def check_adapter(folder: Path, tokenizer: Any, base: str) -> dict[str, Any]:
    """The card of the adapter in `folder`; UserError when it is missing or was made for another base or chat template."""
    from emendo.files import weights_sha256
    from emendo.records import content_id

    if not (folder / "adapter_config.json").is_file():
        raise UserError(f"{folder} holds no LoRA adapter (no adapter_config.json); `emendo adapters` lists yours")
    if not (folder / "card.json").is_file():
        return {}  # an adapter made elsewhere: PEFT itself checks the shapes
    card: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    other = "template" if card.get("template_sha256") != content_id(tokenizer.chat_template) else ""
    here, there = base.partition("@")[0], str(card.get("base_model", "")).partition("@")[0]
    if Path(here).is_dir() and card.get("base_sha256"):
        other = other or "base" * (weights_sha256(Path(here)) != card["base_sha256"])
    elif not Path(here).is_dir() and not card.get("base_sha256"):  # both from the hub
        other = other or "base" * (here != there)
    if other:
        what = "another chat template" if other == "template" else f"another base model ({there})"
        raise UserError(f"adapter {folder.name} was tuned with {what}; tune it again on this one with `emendo tune`")
    return card
