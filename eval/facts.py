"""Whether an answer states a gold fact: numbers, units and spelling brought to one form, then a whole-word search."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from emendo.measures import UNIT_NAMES
from rag.citations import CITATION

_UNITS = UNIT_NAMES | {"°c": "°c degc celsius", "°f": "°f degf fahrenheit"}
_UNIT = {name: unit for unit, names in _UNITS.items() for name in names.split()}
_NUMBER_WORDS = dict(
    zip("two three four five six seven eight nine ten eleven twelve".split(), map(str, range(2, 13)), strict=True)
)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:[,\u00a0\u2009\u202f]\d{3})+(?![\d,])")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d+)(?![\d,]|\.\d)")
_TRAILING_ZEROS = re.compile(r"(?<![\d.])(\d+)(?:\.0+|(\.\d*[1-9])0+)(?![\d.]*\d)")
_DEGREES = re.compile(r"(?<=\d)\s*(?:°|degrees?\b|deg\b)\s*(?=[cf]\b|celsius|fahrenheit)")
_UNIT_AFTER_NUMBER = re.compile(r"(\d)\s*-?\s*(°[cf]|%|[a-z]+)(?![\w])")
_CITED_NUMBER = re.compile(rf"(?<=\d)(?:{CITATION.pattern})+")  # what follows is no unit of it: "is 0 [1] A lamp"
_NUMBER_WORD = re.compile(rf"\b({'|'.join(_NUMBER_WORDS)})\b")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-") | dict.fromkeys("‘’´`", "'") | dict.fromkeys("“”„", '"'))


def normalise(text: str) -> str:
    """Lower case, one kind of dash and quote, `1,500` -> `1500`, `2,50` -> `2.5`, `92°C` = `92 degrees Celsius` -> `92 °c`."""
    text = _THOUSANDS.sub(lambda number: re.sub(r"\D", "", number.group()), text)
    text = unicodedata.normalize("NFKC", text.replace("º", "°")).translate(_DASHES).casefold()
    text = _DECIMAL_COMMA.sub(r"\1.\2", text)
    text = _TRAILING_ZEROS.sub(r"\1\2", text)
    text = _DEGREES.sub(" °", text).replace("°celsius", "°c").replace("°fahrenheit", "°f")
    text = re.sub(r"(\d)\s*(?:to|\.\.\.?)\s*(?=\d)", r"\1-", text)
    text = _UNIT_AFTER_NUMBER.sub(lambda m: f"{m[1]} {_UNIT.get(m[2], m[2])}" if m[2] in _UNIT else m[0], text)
    return " ".join(re.sub(r"[*_`|]", " ", text).split())


def states(answer: str, fact: str) -> bool:
    """Whether the answer holds the fact, or one of its alternatives `a|b`, as whole words; 31 is not found in 310 or 3.31."""
    plain = normalise(CITATION.sub(" ", _CITED_NUMBER.sub(" ; ", answer)))
    counted = _NUMBER_WORD.sub(lambda word: _NUMBER_WORDS[word.group()], plain)
    wanted = [normalise(alternative) for alternative in fact.split("|") if alternative.strip()]
    return any(_pattern(text).search(f" {held} ") for text in wanted for held in {plain, counted, normalise(counted)})


def missing_facts(answer: str, facts: Sequence[str]) -> list[str]:
    """The facts that the answer does not state, in order."""
    return [fact for fact in facts if not states(answer, fact)]


def _pattern(fact: str) -> re.Pattern[str]:
    before, after = r"(?<!\w)", r"(?!\w)"
    if fact[:1].isdigit():
        before += r"(?<!\d[.,:])(?<!\s[-+])"  # not the end of 3.31, nor of -31
    if fact[-1:].isdigit():
        after = r"(?![\w]|[.,:]\d)"
    elif fact[-1:].isalpha() and len(fact) > 3 and not fact[-4:].count(" "):
        after = r"(?:e?s)?(?!\w)"  # a plural states the fact too
    return re.compile(before + re.escape(fact).replace(r"\ ", r"\s+") + after)
