"""Corrected answers as a verbatim model can give them: the units of the passages that hold what they say."""

from __future__ import annotations

from collections.abc import Sequence

from emendo.units import split_units
from emendo.words import stems
from rag.citations import CITATION, split_sentences

HELD = 0.8  # share of a text's words that another one must hold to say the same


def as_units(answer: str, passages: Sequence[str]) -> str:
    """The units, each with its `[n]`, that the statements of `answer` stand in; the answer itself where none is found.

    A person writes `If it was below freezing, wait. [1]` where the manual has `CAUTION: If it was below freezing, wait.`, or a
    row without its bars. A statement that no cited passage holds is left out: the model could not print it.
    """
    units = [(n, unit.text, stems(unit.text)) for n, text in enumerate(passages, 1) for unit in split_units(text, n)]
    found: list[str] = []
    cited: set[int] = set()
    for sentence in reversed(split_sentences(answer)):  # marks stand behind the sentences that they are for
        cited = {int(n) for n in CITATION.findall(sentence)} or cited
        said = stems(CITATION.sub("", sentence))
        near = [(f"{text} [{n}]", words) for n, text, words in units if n in cited and words and said]
        best, held = max(near, key=lambda unit: (len(unit[1] & said), -len(unit[1])), default=("", set()))
        if len(held & said) >= HELD * len(said):
            found.insert(0, best)
        else:  # perhaps it runs over several units
            found[:0] = [text for text, words in near if len(words) > 1 and len(words & said) >= HELD * len(words)]
    return " ".join(dict.fromkeys(text for text in found if text)) or answer
