"""The offline default: answers with the manual's own sentences, steps or table rows, and prints nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from emendo.records import UserError
from emendo.units import Unit, asks_how, is_label, runs_on, score_units, split_units
from emendo.words import stems

_BULLET = re.compile(r"\s*[-•*]\s")
_SETTING = re.compile(r"(?:[\d.]+\s+)?(-{0,2}[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)+|--?[a-zA-Z]\S*)")  # max-clients, netcam_url


class QuoteChatModel(BaseChatModel):
    """Prints the units of the passages that answer the question best, cited.

    It reads question, passages and the score of each unit from the last message's additional_kwargs, as rag.answer sends
    them. The decision to refuse is made before it, on the retrieval confidence.
    """

    model_id: str = "quote"
    most_units: int = 6
    most_words: int = 70
    most_steps: int = 8
    margin: float = 4.0  # nats: units whose odds are below exp(-margin) of the best one's are left out
    near: float = 1.0  # nats: a unit whose odds are this close to the best one's is printed however many words there are
    next_bonus: float = 1.5  # nats: what follows the best unit, but a row, often completes it
    previous_bonus: float = 1.0  # nats: so does what stands before it
    gap_words: int = 15  # one unit of at most this many words between two that are printed is printed, too

    @property
    def _llm_type(self) -> str:
        return "quote"

    def reply(
        self, question: str, passages: Sequence[str], scores: Sequence[float] | None = None, headings: Sequence[str] = ()
    ) -> str:
        """The chosen units, those of the best passage first, each followed by ` [n]`.

        `scores` are one for each unit in reading order, as log odds; without them the words in common decide. `headings` are one
        for each passage: one that is the name of a setting or option is printed above what is said of it.
        """
        units = [unit for n, text in enumerate(passages) for unit in split_units(text, n)]
        if not units:
            return "The manual does not say."
        if scores is None:
            scores = [5 * score for score in score_units(question, units, passages)]
        chosen = self._choose(question, units, scores)
        first = units[chosen[0]].passage
        chosen += _gaps(units, chosen, self.gap_words)
        return _render([units[i] for i in sorted(chosen, key=lambda i: (units[i].passage != first, i))], headings)

    def _choose(self, question: str, units: Sequence[Unit], scores: Sequence[float]) -> list[int]:
        """Places of the units to print, the best one first: a whole procedure, or the best few that say something new."""
        odds = list(scores)
        best = max(range(len(units)), key=lambda i: odds[i])
        if asks_how(question):
            steps = _procedure(units, best, self.most_steps)
            if steps:
                return steps
        if best + 1 < len(units) and _goes_with(units[best], units[best + 1]) and " | " not in units[best + 1].text:
            odds[best + 1] += self.next_bonus
        if best and _goes_with(units[best], units[best - 1]):
            odds[best - 1] += self.previous_bonus
        chosen: list[int] = []
        words = 0
        for i in sorted(range(len(units)), key=lambda i: -odds[i]):
            if chosen and (len(chosen) >= self.most_units or odds[i] < odds[best] - self.margin):
                break
            new = [j for j in _entry(units, i) if j not in chosen]
            more = sum(len(units[j].text.split()) for j in new)
            too_long = words + more > self.most_words and odds[i] < odds[best] - self.near
            if chosen and (too_long or _repeats(units[i], [units[j] for j in chosen])):
                continue
            chosen += new
            words += more
        return chosen

    def _read(self, messages: list[BaseMessage]) -> str:
        data = messages[-1].additional_kwargs
        if "passages" not in data:
            raise UserError("the quote model answers from passages only; ask it through an index, or choose another --model")
        return self.reply(data["question"], data["passages"], data.get("unit_scores"), data.get("headings", ()))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=self._read(messages)))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in re.findall(r"\S+\s*", self._read(messages)):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


def _procedure(units: Sequence[Unit], best: int, most: int) -> list[int]:
    """The list of steps that unit `best` is in or introduces, its first step first; [] where there are not two of them."""
    inside = best if units[best].step else best + 1
    if not units[best].step and not units[best].text.endswith(":"):
        return []
    first = last = inside
    while first > 0 and units[first - 1].step and units[first - 1].passage == units[best].passage:
        first -= 1
    while last < len(units) and units[last].step and units[last].passage == units[best].passage:
        last += 1
    if last - first < 2:
        return []
    if last - first > most:
        first = max(first, inside - most // 2)
    return list(range(first, min(last, first + most)))


def _goes_with(unit: Unit, beside: Unit) -> bool:
    """Whether neighbours may complete each other; the items of a list without numbers are each about something else."""
    return unit.passage == beside.passage and not (_BULLET.match(unit.text) and _BULLET.match(beside.text))


def _gaps(units: Sequence[Unit], chosen: Sequence[int], most: int) -> list[int]:
    """Places of the short units left out between two chosen ones, or below a colon: without them the text reads broken."""
    found = []
    for i in (place + 1 for place in chosen):
        if i == len(units) or i in chosen or units[i].passage != units[i - 1].passage or len(units[i].text.split()) > most:
            continue
        between = i + 1 in chosen and units[i + 1].passage == units[i].passage
        if between or units[i - 1].text.endswith(":"):  # a command or setting below a colon looks like a label itself
            found.append(i)
    return found


def _entry(units: Sequence[Unit], i: int, most: int = 3) -> list[int]:
    """Unit `i`, and where it is a label what it introduces, up to the next label or `most` units in all."""
    end = i + 1
    if is_label(units[i].text):
        while end < min(len(units), i + most) and units[end].passage == units[i].passage and not is_label(units[end].text):
            end += 1
    return list(range(i, end))


def _repeats(unit: Unit, chosen: Sequence[Unit], same: float = 0.8) -> bool:
    """Whether most words of the shorter of two units are in the longer one: manuals say things more than once."""
    words = stems(unit.text)
    others = [stems(other.text) for other in chosen]
    return any(len(words & other) > same * max(1, min(len(words), len(other))) for other in others)


def _render(units: Sequence[Unit], headings: Sequence[str]) -> str:
    """Sentences of one passage in one line, everything else in a line of its own, each with its mark."""
    lines: list[str] = []
    previous: Unit | None = None
    for unit in units:
        text = f"{unit.text} [{unit.passage + 1}]"
        if headings and (previous is None or previous.passage != unit.passage):
            setting = _SETTING.fullmatch(headings[unit.passage])
            if setting and not any(setting[1] in other.text for other in units if other.passage == unit.passage):
                lines.append(f"{setting[1]}: [{unit.passage + 1}]")
        if previous is not None and previous.passage == unit.passage and runs_on(previous) and runs_on(unit):
            lines[-1] += " " + text
        else:
            lines.append(text)
        previous = unit
    return "\n".join(lines)
