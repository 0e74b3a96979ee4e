"""reStructuredText -> blocks, through docutils' HTML; Sphinx's own directives and roles are read for their text."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup
from docutils.core import publish_string
from docutils.parsers.rst import directives, roles  # noqa: F401 - registers what docutils knows
from docutils.parsers.rst.languages import en

from rag.decoding import decode
from rag.outline import Reading
from rag.parse_html import read_html

_SETTINGS = {
    "report_level": 5,
    "halt_level": 5,
    "file_insertion_enabled": False,  # an include would read files of this machine
    "raw_enabled": False,
    "embed_stylesheet": False,
    "doctitle_xform": False,
    "initial_header_level": 1,
    "syntax_highlight": "none",
    "output_encoding": "unicode",
}
_ROLE = re.compile(r":(?:[\w+.-]+:)*([\w+.-]+):`([^`]+)`")
_TARGET = re.compile(r"^(.*?)\s*<[^>]+>$", re.DOTALL)
_DIRECTIVE = re.compile(
    r"^(?P<indent> *)\.\. (?P<name>[\w:+-]+):: *(?P<argument>.*)$(?P<blank>(?:\n *)+(?=\n(?P=indent) +\S))?", re.MULTILINE
)
_NO_TEXT = {"toctree", "index", "highlight", "meta", "tabularcolumns", "only", "seealso", "contents", "image", "figure"}

_SINCE = {"versionadded": "Added in version", "versionchanged": "Changed in version", "deprecated": "Deprecated since version"}


def read(data: bytes, source: str) -> Reading:
    """The reading of a reStructuredText file."""
    text = _DIRECTIVE.sub(_known_directive, _ROLE.sub(_role_text, decode(data, source)))
    html = publish_string(text, writer="html5", settings_overrides=_SETTINGS)
    soup = BeautifulSoup(html, "lxml")
    if soup.title:
        soup.title.decompose()
    return read_html(soup, source)


def _role_text(match: re.Match[str]) -> str:
    """What a reader sees of a role; docutils would show unknown ones as an error."""
    if match[1] in ("sub", "sup", "math", "emphasis", "strong", "literal"):
        return match[0]
    target = _TARGET.match(match[2])
    return f"``{target[1] if target and target[1] else match[2].lstrip('~!')}``"


def _known_directive(match: re.Match[str]) -> str:
    """The directive itself where docutils knows it, else a container that keeps its content."""
    name, indent, argument, blank = match["name"], match["indent"], match["argument"], match["blank"] or ""
    if name in ("code-block", "sourcecode"):
        return f"{indent}.. code::{blank}"
    if name in en.directives and name not in _NO_TEXT:
        return match[0]
    if name in _NO_TEXT:
        return f"{indent}.. comment{blank}"
    if name in _SINCE:
        return f"{indent}{_SINCE[name]} {argument}.{blank}"
    # As for `.. option:: --verbose`: its argument is a term, its body, without a blank line between, the definition.
    return f"{indent}``{argument.strip('`')}``" if argument else f"{indent}.. container::{blank}"
