"""The lines of a page in reading order: what was drawn late goes where it stands, the labels of a picture as one line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from rag.pdf_lines import Line, Page, around

_LABEL = 40  # characters of a label at most
Run = list[Line]


def order(page: Page) -> Page:
    """The page, its lines in the order of the file, but for those that it draws late over what stands above.

    Word and its like write text boxes, and with them the labels of figures, after all other text of a page.
    """
    flow, late = _divide(page)
    if not late:
        return page
    margin = Counter(round(line.box.x0) for line in flow).most_common(1)[0][0]
    if sum(len(line.text) for run in late if _is_text(run, margin) for line in run) > sum(len(line.text) for line in flow):
        return page  # the file begins with the foot of the page
    labels: dict[int, Run] = {}
    placed: dict[int, list[Run]] = {}
    for run in late:
        if _is_text(run, margin):
            placed.setdefault(_place(run[0], flow), []).append(run)
        else:
            for label in _join([line for line in run if re.search(r"\w", line.text)]):
                labels.setdefault(_place(label, flow), []).append(label)
    lines: Run = []
    for n in range(len(flow) + 1):
        lines += _as_one(labels[n]) if n in labels else []
        for run in sorted(placed.get(n, []), key=lambda run: run[0].box.y0):
            lines += run
        lines += flow[n : n + 1]
    return replace(page, lines=tuple(lines))


def _runs(lines: Iterable[Line]) -> list[Run]:
    """Lines that go down the page, or along a row, one after the other."""
    runs: list[Run] = []
    for line in lines:
        if runs and line.box.y0 > runs[-1][-1].box.y0 - 0.5 * line.size:
            runs[-1].append(line)
        else:
            runs.append([line])
    return runs


def _divide(page: Page) -> tuple[Run, list[Run]]:
    """The lines in order, and the runs that begin above the foot of earlier lines over or under them.

    For short lines at a picture any earlier line counts, as their figure's caption may be beside them.
    """
    flow: Run = []
    late: list[Run] = []
    for run in _runs(page.lines):
        label = all(len(line.text) <= _LABEL and _at_picture(line, page) for line in run)
        foot = max((line.box.y1 for line in flow if label or any(_over(line, one) for one in run)), default=0.0)
        above = run[0].box.y0 < foot - 0.5 * run[0].size
        # A mark in the margin, written before the text that goes on below it, makes nothing late.
        if above and not (any(len(line.text) > _LABEL for line in run) and _goes_on_below(run, flow)):
            late.append(run)
        else:
            flow += run
    return flow, late


def _goes_on_below(run: Run, flow: Run) -> bool:
    """Whether no line of the run begins above the foot of an earlier line over or under it."""
    feet = [max((one.box.y1 for one in flow if _over(line, one)), default=0.0) for line in run]
    return all(line.box.y0 >= foot - 0.5 * line.size for line, foot in zip(run, feet, strict=True))


def _place(late: Line, flow: Sequence[Line]) -> int:
    """Index of the first line in the late one's column that stands no higher."""
    at = next((n for n, line in enumerate(flow) if line.box.y0 >= late.box.y0 and _over(line, late)), len(flow))
    while at and flow[at - 1].box.y0 >= late.box.y0 and (at == len(flow) or _over(flow[at - 1], flow[at])):
        at -= 1
    return at


def _at_picture(line: Line, page: Page) -> bool:
    near = 3 * line.size
    x, y = (line.box.x0 + line.box.x1) / 2, (line.box.y0 + line.box.y1) / 2
    return any(at.x0 - near < x < at.x1 + near and at.y0 - near < y < at.y1 + near for at in page.pictures)


def _over(a: Line, b: Line) -> bool:
    return min(a.box.x1, b.box.x1) > max(a.box.x0, b.box.x0)


def _is_text(run: Run, margin: float) -> bool:
    """Whether a late run is text and no label: long lines, sentences, or a bold line at the margin, as a heading is."""
    long = any(len(line.text) > _LABEL or line.text.endswith((".", ":")) for line in run)
    return long or (run[0].bold and abs(run[0].box.x0 - margin) < 3)


def _join(run: Run) -> Iterator[Line]:
    """The run's labels; one may have several lines."""
    label: Line | None = None
    for line in run:
        if label and line.size == label.size and _over(line, label) and line.box.y0 - label.box.y1 < 0.7 * line.size:
            label = replace(label, text=f"{label.text} {line.text}", box=around([label.box, line.box]))
        else:
            yield from [label] if label else []
            label = line
    yield from [label] if label else []


def _as_one(labels: Sequence[Line]) -> Run:
    """The labels of a figure as one line: "Water tank; Drip tray." """
    ranked = sorted(labels, key=lambda label: (round(label.box.y0 / max(label.size, 1.0)), label.box.x0))
    text = "; ".join(dict.fromkeys(label.text for label in ranked)) + "."
    box = around([label.box for label in labels])
    return [replace(labels[0], text=text, box=box, size=min(label.size for label in labels), bold=False, pieces=(), label=True)]
