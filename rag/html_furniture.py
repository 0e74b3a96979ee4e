"""What an HTML page holds beside its text: navigation, lists of its own headings, footers; and the name of its manual."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from bs4 import BeautifulSoup, Tag

from rag.outline import is_contents_title, tidy

_DROP = (
    "script, style, noscript, template, svg, iframe, form, button, nav, aside:not(.admonition), head, footer, "
    "[role=navigation], [role=search], "
    "[role=contentinfo], [hidden], [aria-hidden=true], .headerlink, .copiable-anchor, .copiable-link, .sphinxsidebar, "
    ".toctree-wrapper, .breadcrumb, .breadcrumbs, "
    ".navigation, .navbar, .footer, .sidebar, .toc, #toc, .related, .skip-link, .cookie-banner, .edit-on-github, .linenos, "
    # of DocBook, Asciidoctor and Doxygen
    "[class~=navheader i], [class~=navfooter i], #footer, #titlearea, .navpath, #nav-path, #nav-tree, .lineno"
)
_TURN = {"next", "prev", "previous"}  # what a link to the next page says of itself
_SHORT = 300  # characters of a block that is nothing but navigation
_NO_NAME = {"top", "home", "index", "start", "contents", "table of contents", "main page"}
_OUTERMOST = {"home", "start", "top"}
_TITLE_PARTS = re.compile(r"\s+[—–|·»-]\s+")  # between a page's name and its site's name in <title>


def drop_furniture(main: Tag, source: str) -> None:
    """Remove from the page's main element what is no text of the manual; `source` is the page's file name."""
    for unwanted in main.select(_DROP):
        if not unwanted.decomposed and unwanted is not main:
            unwanted.decompose()
    for link in main.find_all("a"):
        if not link.decomposed and _turns_page(link):
            block = link.find_parent("table") or link.find_parent(["p", "ul", "dl", "div"])
            (block if block is not None and _is_bar(block, main) else link).decompose()
    page = PurePosixPath(source).name
    for found in main.find_all(["ul", "ol", "dl"]):
        if not found.decomposed and _lists_headings(found, page):
            above = found.find_previous_sibling()
            found.decompose()
            if above is not None and is_contents_title(tidy(above.get_text())):
                above.decompose()


def _turns_page(link: Tag) -> bool:
    return bool(_TURN & {str(rel).lower() for rel in link.get("rel") or ()})


def _is_bar(block: Tag, main: Tag) -> bool:
    """Whether a block with a link to the next page is a bar of such links, not a layout that holds the text, too."""
    inside = any(parent is main for parent in block.parents)
    return inside and not block.find(["h1", "h2", "h3", "p"]) and len(tidy(block.get_text())) <= _SHORT


def _lists_headings(found: Tag, page: str) -> bool:
    """Whether a list has three links or more and little else, most of them into the page itself."""
    links = found.find_all("a", href=True)
    linked = sum(len(tidy(link.get_text())) for link in links)
    if len(links) < 3 or linked < 0.8 * len(tidy(found.get_text())):
        return False
    within = sum(str(link["href"]).startswith(("#", f"{page}#")) for link in links)
    return within * 2 > len(links)


def split_title(soup: BeautifulSoup) -> tuple[str, str]:
    """The page's own name and its manual's, by <title> and by the link to the manual's first page; "" for what is not named."""
    named = re.sub(r"<no title>\s*[—–|-]?\s*", "", tidy(soup.title.get_text())) if soup.title else ""
    generator = soup.find("meta", attrs={"name": re.compile("^generator$", re.IGNORECASE)})
    made_by = str(generator.get("content", "")).lower() if isinstance(generator, Tag) else ""
    if made_by.startswith("doxygen") and ": " in named:
        site, page = named.split(": ", 1)
        return page.strip(), site.strip()
    if made_by.startswith("makeinfo") and (match := re.fullmatch(r"(.+?) \((.+)\)", named)):
        return match[1], match[2]
    parts = list(_TITLE_PARTS.finditer(named))
    if parts:
        return named[: parts[-1].start()].strip(), named[parts[-1].end() :].strip()
    return named, next(_linked_names(soup), "")


def _linked_names(soup: BeautifulSoup) -> Iterator[str]:
    for link in soup.find_all("link", rel=True, title=True):
        name = tidy(str(link["title"]))
        if _OUTERMOST & {str(rel).lower() for rel in link["rel"]} and name.lower() not in _NO_NAME:
            yield name
