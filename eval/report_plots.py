"""The report's plots as inline SVG. Colours come from the page's CSS variables, so that light and dark both work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

_WIDTH = 720  # user units; the page scales the picture to its column


@dataclass(frozen=True)
class ForestLine:
    """One difference: text, estimate and interval in points; `good` is the direction that is better."""

    label: str
    value: float
    low: float
    high: float
    good: int  # 1 or -1
    note: str


def forest(lines: Sequence[ForestLine]) -> Markup:
    """Differences with their intervals around zero; green is better, red is worse, grey is open."""
    if not lines:
        return Markup("")
    left, right, row = 230, 600, 26
    reach = max(5.0, *(min(abs(end), 100.0) for line in lines for end in (line.low, line.high)))
    place = _scale(-reach, reach, left, right)
    parts = [_line(place(0), 8, place(0), row * len(lines) + 12, "zero")]
    for number, line in enumerate(lines):
        y = 22 + row * number
        better = line.low > 0 if line.good > 0 else line.high < 0
        worse = line.high < 0 if line.good > 0 else line.low > 0
        kind = "good" if better else "bad" if worse else "open"
        low, high = place(max(line.low, -reach)), place(min(line.high, reach))
        parts += [
            _text(left - 12, y + 4, line.label, "end"),
            _line(low, y, high, y, f"range {kind}"),
            f'<circle cx="{place(line.value):.1f}" cy="{y}" r="4.5" class="dot {kind}"/>',
            _text(right + 12, y + 4, line.note, "start"),
        ]
    bottom = row * len(lines) + 12
    parts += [_text(place(tick), bottom + 18, f"{tick:+g}" if tick else "0", "middle", "tick") for tick in _ticks(-reach, reach)]
    parts.append(_text((left + right) / 2, bottom + 38, "difference after − before, points, 95 % interval", "middle", "tick"))
    return _svg(parts, bottom + 46, "Forest plot of the differences")


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    title: str,
    y_format: Callable[[float], str] = "{:g}".format,
    y_from_zero: bool = True,
) -> Markup:
    """Lines through points, one colour per series, named at the top."""
    drawn = {name: [point for point in points if all(map(math.isfinite, point))] for name, points in series.items()}
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return Markup("")
    left, right, top, bottom = 70, _WIDTH - 20, 40, 250
    xs, ys = ([point[axis] for points in drawn.values() for point in points] for axis in (0, 1))
    low = 0.0 if y_from_zero else min(ys)
    x, y = _scale(min(xs), max(xs), left, right), _scale(low, max(ys) * 1.05 or 1.0, bottom, top)
    parts = []
    for tick in _ticks(low, max(ys)):
        parts += [_line(left, y(tick), right, y(tick), "grid"), _text(left - 8, y(tick) + 4, y_format(tick), "end", "tick")]
    parts += [_text(x(tick), bottom + 18, f"{tick:g}", "middle", "tick") for tick in _ticks(min(xs), max(xs))]
    for number, (name, points) in enumerate(drawn.items()):
        path = " ".join(f"{x(px):.1f},{y(py):.1f}" for px, py in points)
        parts.append(f'<polyline points="{path}" class="curve c{number}"/>')
        if len(points) <= 30:
            parts += [f'<circle cx="{x(px):.1f}" cy="{y(py):.1f}" r="3" class="mark c{number}"/>' for px, py in points]
        parts.append(f'<rect x="{left + 170 * number}" y="2" width="12" height="12" class="key c{number}"/>')
        parts.append(_text(left + 18 + 170 * number, 12, name, "start"))
    parts += [_text((left + right) / 2, bottom + 38, x_label, "middle", "tick"), _text(4, 32, y_label, "start", "tick")]
    return _svg(parts, bottom + 46, title)


def distribution(values: Sequence[float]) -> list[tuple[float, float]]:
    """Points of the empirical distribution: value, share of the values up to it."""
    ordered = np.sort(np.asarray(values, dtype=float))
    return [(float(value), (place + 1) / len(ordered)) for place, value in enumerate(ordered)]


def _scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    span = high - low or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers within [low, high]."""
    step = 10 ** math.floor(math.log10((high - low) / 3)) if high > low else 1.0
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    first = math.ceil(low / step - 1e-9)
    return [round(step * number, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "label") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: float, title: str) -> Markup:
    body = "\n".join(parts)
    return Markup(  # every text in the parts went through escape()
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">\n{body}\n</svg>'
    )
