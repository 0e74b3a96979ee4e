"""Page furniture: headers, footers and page numbers that repeat from page to page and say nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

EDGE_LINES = 3  # how many lines at the top and at the foot of a page may be furniture


def furniture_key(line: str) -> str:
    """A line with its numbers taken out, so that "CX-10 · 7" and "CX-10 · 8" are one; sentences are kept as they are."""
    if line.rstrip().endswith((".", "!", "?")):
        return line.strip()
    return re.sub(r"\d+|\b[ivxl]+\b", "#", " ".join(line.lower().split()))


def find_furniture(pages: Sequence[Sequence[str]]) -> set[str]:
    """Keys of the lines that stand at the edge of at least 4 pages and of two in five: left and right pages may differ."""
    seen: Counter[str] = Counter()
    for lines in pages:
        filled = [line for line in lines if line.strip()]
        edge = filled[:EDGE_LINES] + filled[-EDGE_LINES:] if len(filled) > 2 * EDGE_LINES else filled
        seen.update({furniture_key(line) for line in edge})
    least = max(4, len(pages) * 0.4)
    return {key for key, count in seen.items() if count >= least and key}


def drop_furniture(pages: Sequence[Sequence[str]]) -> list[list[str]]:
    """The pages without their furniture; lines in the middle of a page are never touched."""
    furniture = find_furniture(pages)
    kept = []
    for lines in pages:
        keep = list(lines)
        for edge in (range(len(keep)), range(len(keep) - 1, -1, -1)):
            looked = 0
            for n in edge:
                if keep[n].strip() and looked < EDGE_LINES:
                    looked += 1
                    if furniture_key(keep[n]) in furniture:
                        keep[n] = ""
        kept.append(keep)
    return kept
