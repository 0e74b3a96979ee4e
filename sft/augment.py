"""The same question asked otherwise: mistyped, with a synonym, rephrased. Answers and passages are never touched.

Rules, not a model: a variant must not ask anything else. Codes, numbers and names stay as they are. Questions that are not
English are mistyped only.
"""

from __future__ import annotations

import random
import re

MOST = 3  # variants per question; more of the same teach the wording
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_ENGLISH = set("a an and are can do does for how i if in is it my of on or should the to what when where which why with".split())
SYNONYMS = (
    ("turn on", "switch on", "power on"),
    ("turn off", "switch off", "power off"),
    ("blinking", "flashing"),
    ("blinks", "flashes"),
    ("broken", "not working"),
    ("fix", "repair"),
    ("replace", "change"),
    ("remove", "take out"),
    ("connect", "hook up"),
    ("set up", "configure"),
    ("need to", "have to"),
    ("how often", "how frequently"),
    ("allowed", "permitted"),
    ("buy", "purchase"),
    ("begin", "start"),
    ("choose", "select"),
    ("noise", "sound"),
    ("doesn't", "does not"),
    ("won't", "will not"),
    ("can't", "cannot"),
    ("isn't", "is not"),
    ("what's", "what is"),
)
PARAPHRASES = (
    (r"how (?:do|can|should) (?:i|you|we) (.+)", ("what is the way to {}", "what are the steps to {}", "I want to {}. How?")),
    (r"what (?:does|do) (.+) mean", ("what is the meaning of {}", "{}: what does that mean?")),
    (r"how often (?:do|should|must) i (.+)", ("at what interval should I {}", "I want to know how often to {}")),
    (r"can i (.+)", ("is it OK to {}", "am I allowed to {}")),
    (r"where (?:is|are) (.+)", ("where do I find {}", "where can I see {}")),
    (r"(.+)", ("quick question: {}?", "could you tell me: {}?", "{}? Thanks")),
)
_NEAR = {"a": "s", "e": "r", "i": "o", "o": "p", "t": "r", "n": "m", "s": "d", "r": "e", "l": "k", "u": "y", "c": "v", "m": "n"}


def question_variants(question: str, count: int, seed: str) -> list[str]:
    """At most `count` (and `MOST`) other ways to ask, all different; the same call gives the same ones."""
    dice = random.Random(f"{seed}/{question}")
    kinds = [mistype, swap_synonym, rephrase] if _ENGLISH & set(question.lower().split()) else [mistype] * MOST
    found: list[str] = []
    for kind in kinds[: min(count, MOST)]:
        variant = kind(question, dice)
        if variant != question and variant not in found:
            found.append(variant)
    return found


def mistype(question: str, dice: random.Random) -> str:
    """One word with two letters swapped, one left out, one doubled, or a neighbouring key; in long questions two words."""
    words = [m for m in _WORD.finditer(question) if len(m.group()) >= 4 and m.group()[1:].islower()]
    chosen = dice.sample(words, min(len(words), 1 + (len(words) > 8)))
    for match in sorted(chosen, key=lambda m: -m.start()):
        word = match.group()
        n = dice.randrange(1, len(word) - 1)
        slips = [
            word[:n] + word[n + 1] + word[n] + word[n + 2 :],
            word[:n] + word[n + 1 :],
            word[:n] + word[n] + word[n:],
            word[:n] + _NEAR.get(word[n], word[n]) + word[n + 1 :],
        ]
        question = question[: match.start()] + dice.choice(slips) + question[match.end() :]
    return question


def swap_synonym(question: str, dice: random.Random) -> str:
    """One expression replaced by another of its group, capitals (a display's text) left alone; else the question itself."""
    places = []
    for group in SYNONYMS:
        for said in group:
            if match := re.search(rf"\b{re.escape(said)}\b", question, re.IGNORECASE):
                places += [] if match.group().isupper() else [(match, [other for other in group if other != said])]
                break
    if not places:
        return question
    match, others = dice.choice(places)
    new = dice.choice(others)
    return question[: match.start()] + (new.capitalize() if match.group()[0].isupper() else new) + question[match.end() :]


def rephrase(question: str, dice: random.Random) -> str:
    """The question in another sentence."""
    core = question.strip().rstrip("?!. ")
    for pattern, templates in PARAPHRASES:
        if match := re.fullmatch(pattern, core, re.IGNORECASE):
            said = dice.choice(templates).format(match.group(1))
            said = said if said.endswith(("?", "Thanks")) else said + "?"
            return said[0].upper() + said[1:] if question[:1].isupper() else said
    return question
