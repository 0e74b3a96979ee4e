"""What an HTML page holds beside its text: navigation, lists of its own headings, footers; and the name of its manual."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from bs4 import BeautifulSoup, Tag

from rag.outline import is_contents_title, tidy

_DROP = (
    "script, style, noscript, template, svg, iframe, form:not(:has(h1, h2, h3)), button, nav, aside:not(.admonition), "
    "head, footer, "
    "[role=navigation], [role=search], "
    "[role=contentinfo], [hidden], [aria-hidden=true], .headerlink, .copiable-anchor, .copiable-link, .sphinxsidebar, "
    ".toctree-wrapper:not(:has(h1, h2, h3, h4, h5, h6)), .breadcrumb, .breadcrumbs, "
    ".navigation, .navbar, .footer, .sidebar, .toc, #toc, .related, .skip-link, .cookie-banner, .edit-on-github, .linenos, "
    # of DocBook, Asciidoctor and Doxygen
    "[class~=navheader i], [class~=navfooter i], #footer, #titlearea, .navpath, #nav-path, #nav-tree, .lineno"
)
# Around a link inside the site, until the text that it stands in is complete: what is nothing but such links is navigation.
LINK, LINK_END = "\ufdd0", "\ufdd1"
_LINKED = re.compile(f"{LINK}.*?{LINK_END}", re.DOTALL)
_BAR = re.compile(r"[|\[\]«»‹›·•←→↑<>]")
_MANY_LINKS = 5  # in a bar of so many, the page itself may be named without a link
_WAYS = set("next prev previous contents up top home index main table of back to return first last page".split())
_MADE_BY = re.compile(r"(?:this \w+ was )?(?:auto\w* )?(?:generated|created) (?:on|by|using|with|from)\b", re.IGNORECASE)
_TURN = {"next", "prev", "previous"}  # what a link to the next page says of itself
_SHORT = 300  # characters of a block that is nothing but navigation
_NO_NAME = {"top", "home", "index", "start", "contents", "table of contents", "main page"}
_OUTERMOST = {"home", "start", "top"}
_TITLE_PARTS = re.compile(r"\s+[—–|·»~-]\s+")  # between a page's name and its site's name in <title>


def drop_furniture(main: Tag, source: str) -> None:
    """Remove from the page's main element what is no text of the manual; `source` is the page's file name."""
    for variant in main.select("span[hidden]"):
        if _is_default(variant):
            del variant["hidden"]
    for unwanted in main.select(_DROP):
        if not unwanted.decomposed and unwanted is not main:
            unwanted.decompose()
    for link in main.find_all("a"):
        if not link.decomposed and _turns_page(link):
            block = link.find_parent("table") or link.find_parent(["p", "ul", "dl", "div"])
            (block if block is not None and _is_bar(block, main) else link).decompose()
    for table in main.find_all("table"):
        if not table.decomposed and len(table.find_all("tr")) == 1 and _is_link_row(table):
            table.decompose()
    page = PurePosixPath(source).name
    for found in main.find_all(["ul", "ol", "dl"]):
        if not found.decomposed and _lists_headings(found, page):
            above = found.find_previous_sibling()
            found.decompose()
            if above is not None and is_contents_title(tidy(above.get_text())):
                above.decompose()


def _is_default(variant: Tag) -> bool:
    """Whether an element is the last of several that are all hidden, of which a script shows one: "Command" or "Ctrl"."""
    all_hidden = variant.parent is not None and all(
        isinstance(one, Tag) and one.has_attr("hidden") for one in variant.parent.children if one.get_text(strip=True)
    )
    return all_hidden and not any(isinstance(one, Tag) for one in variant.next_siblings)


def leads_inside(link: Tag) -> bool:
    """Whether a link leads to another place of the page or to another page of its site."""
    return not re.match(r"[a-z]+:|//|$", str(link.get("href") or ""), re.IGNORECASE)


def is_navigation(text: str) -> bool:
    """Whether a line, its links marked, is a bar of links ("Home | Contents") or says the way only ("Back to top")."""
    if LINK not in text:
        return False
    outside = _LINKED.sub(" ", text)
    if set(re.findall(r"\w+", plain_text(text).lower())) <= _WAYS:
        return True
    links = text.count(LINK)
    named = len(re.findall(r"\w", outside))
    return links > 1 and bool(_BAR.search(outside)) and named <= (3 if links >= _MANY_LINKS else 0)


def is_link_only(text: str) -> bool:
    """Whether a line, its links marked, is no sentence and says nothing but what leads to other places."""
    return LINK in text and not re.search(r"\w", _LINKED.sub(" ", text)) and plain_text(text).rstrip()[-1] not in ".!?"


def names_its_maker(text: str) -> bool:
    """Whether a line is what a generator of pages writes at their foot."""
    return len(text) <= _SHORT and bool(_MADE_BY.match(text))


def plain_text(text: str) -> str:
    """The line without the marks of its links."""
    return text.replace(LINK, "").replace(LINK_END, "")


def _is_link_row(table: Tag) -> bool:
    """Whether a table is a row of links to other pages."""
    links = [link for link in table.find_all("a", href=True) if leads_inside(link)]
    outside = len(re.findall(r"\w", table.get_text())) - sum(len(re.findall(r"\w", link.get_text())) for link in links)
    return len(links) > 2 and outside <= 3


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
    if made_by.startswith(("doxygen", "texi2html")) and ": " in named:
        site, page = named.split(": ", 1)
        return page.strip(), site.strip()
    if made_by.startswith("makeinfo") and (match := re.fullmatch(r"(.+?) \((.+)\)", named)):
        return match[1], match[2]
    parts = list(_TITLE_PARTS.finditer(named))
    if parts:
        page, site = named[: parts[-1].start()].strip(), named[parts[-1].end() :].strip()
        return (site, page) if _says_more_of(site, page, soup) else (page, site)
    return named, next(_linked_names(soup), "")


def _says_more_of(last: str, first: str, soup: BeautifulSoup) -> bool:
    """Whether the page's headings say the last part of its <title>, and less of the first: "Lumo - Care" above "2. Care"."""
    headings = [set(_words(one.get_text(" "))) for one in soup.find_all(["h1", "h2"], limit=4)]
    shares = [
        max((len(said & set(words)) / len(set(words)) for said in headings), default=0.0) if words else 0.0
        for words in (_words(last), _words(first))
    ]
    return shares[0] > shares[1]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _linked_names(soup: BeautifulSoup) -> Iterator[str]:
    for link in soup.find_all("link", rel=True, title=True):
        name = tidy(str(link["title"]))
        if _OUTERMOST & {str(rel).lower() for rel in link["rel"]} and name.lower() not in _NO_NAME:
            yield name
