"""The model picker: what serves, its base, the adapters, or two of them side by side."""

from __future__ import annotations

import gradio as gr

from emendo.records import UserError
from serve.session import ServeContext
from serve.turns import model_name

SERVING, BASE, BESIDE = "serving", "base", "beside "  # values of the picker beside the ids of adapters


class ModelPicker:
    def __init__(self, context: ServeContext):
        self.context = context
        self.box = gr.Dropdown(
            [SERVING],
            value=SERVING,
            label="Model",
            show_label=False,
            container=False,
            min_width=160,
            visible=False,
            elem_id="model-choice",
        )

    def choices(self, chosen: str = SERVING) -> gr.Dropdown:
        """Shown where there is something to choose. Beside what serves stand its base or the newest adapter.

        What was chosen stays while it can be.
        """
        adapters, serving = self.context.adapters(), self.context.answerer.adapter_id
        others = [(model_name(name), name) for name in adapters if name != serving]
        base = [(model_name(""), BASE)] if serving else []
        rivals = [*base, *others[:1]]
        beside = [("Side by side" + f" with {name}" * (len(rivals) > 1), BESIDE + value) for name, value in rivals]
        choices = [(model_name(serving), SERVING), *base, *others, *beside]
        value = chosen if chosen in dict(choices).values() else SERVING
        return gr.Dropdown(choices, value=value, visible=bool(adapters))

    def chosen(self, value: str) -> list[str | None]:
        """The adapter for ServeContext.answer, or the two that answer side by side. UserError for one that is gone."""
        if value == SERVING:
            return [None]
        name = value.removeprefix(BESIDE)
        if name != BASE and name not in self.context.adapters():
            raise UserError(f"adapter {name!r} is not there any more; choose another model")
        adapter = "" if name == BASE else name
        return [self.context.answerer.adapter_id, adapter] if value.startswith(BESIDE) else [adapter]
