"""Headings of old HTML pages that have no heading elements: bold lines that stand alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bs4 import Comment, PageElement, Tag

from rag.outline import is_signal_word, tidy

_INLINE = {"font", "u", "i", "em", "big", "span", "a", "b", "strong"}
_LINE_ENDS = set("br hr p div center table ul ol dl pre blockquote form".split())  # what a line ends at
_NO_PLACE = ["table", "li", "dt", "dd", "pre", "ul", "ol"]
_LONGEST = 80  # characters
_CAPTION = re.compile(r"(?:figure|fig\.|table|example|note)\b", re.IGNORECASE)


def promote_bold_lines(main: Tag) -> None:
    """Make headings of the bold lines of a page that has none, but for its title, where there are two or more."""
    if main.find(["h2", "h3", "h4", "h5", "h6"]) or len(main.find_all("h1")) > 1:
        return
    lines = [line for bold in main.find_all(["b", "strong"]) if (line := _whole_line(bold)) is not None]
    if len(lines) > 1:
        for line in lines:
            line.name = "h2"


def _whole_line(bold: Tag) -> Tag | None:
    """The element that is all of its line and says what a heading could; None where it is part of a sentence."""
    text = tidy(bold.get_text(" "))
    wordless = len(re.findall(r"[^\W\d_]", text)) < 3
    if wordless or len(text) > _LONGEST or text[-1] in ".,;!" or _CAPTION.match(text) or is_signal_word(text):
        return None
    line = bold
    while line.parent is not None and line.parent.name in _INLINE and tidy(line.parent.get_text(" ")) == text:
        line = line.parent
    if line.find_parent(_NO_PLACE) or bold.find(list(_LINE_ENDS)):
        return None
    alone = _ends_line(line.previous_siblings) and _ends_line(line.next_siblings)
    return line if alone and line.parent is not None and line.parent.name not in _INLINE else None


def _ends_line(siblings: Iterable[PageElement]) -> bool:
    """Whether nothing is written between here and the line's end."""
    for one in siblings:
        if isinstance(one, Tag) and one.name in _LINE_ENDS:
            return True
        if _says_something(one):
            return False
    return True


def _says_something(node: PageElement) -> bool:
    return not isinstance(node, Comment) and bool(tidy(node.get_text()))
