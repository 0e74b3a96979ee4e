"""The picture of a sweep: one panel per setting, a dot per trial, as an SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

NAMES = {
    "learning_rate": "learning rate (log scale)",
    "rank": "rank",
    "epochs": "epochs",
    "refusal_share": "share of refusal rows",
}
_WIDTH, _HEIGHT, _LEFT, _TOP = 230, 190, 60, 20  # of one panel, in user units


def plot(trials: Sequence[tuple[Mapping[str, float], float, bool]]) -> str:
    """SVG of (settings, validation loss, whether it is the best) of the finished trials; lower is better."""
    low, high = min(loss for _, loss, _ in trials), max(loss for _, loss, _ in trials)
    parts = [_panel(n, name, trials, low, high) for n, name in enumerate(NAMES)]
    width = len(NAMES) * (_WIDTH + _LEFT) + 20
    style = (
        "text{font:12px sans-serif;fill:#555}.dot{fill:#4477aa;fill-opacity:.65}.best{fill:#cc3311}"
        ".axis{stroke:#999}@media(prefers-color-scheme:dark){text{fill:#bbb}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT + 75}" role="img" '
        f'aria-label="Validation loss of {len(trials)} trials by setting; the lowest is {low:.3f}"><style>{style}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panel(n: int, name: str, trials: Sequence[tuple[Mapping[str, float], float, bool]], low: float, high: float) -> str:
    left, bottom = _LEFT + n * (_WIDTH + _LEFT), _TOP + _HEIGHT
    log = name == "learning_rate"
    values = [math.log10(settings[name]) if log else settings[name] for settings, _, _ in trials]

    def x(value: float) -> float:
        span = max(values) - min(values)
        return left + 12 + ((value - min(values)) / span if span else 0.5) * (_WIDTH - 24)

    def y(loss: float) -> float:
        return bottom - 12 - ((loss - low) / (high - low) if high > low else 0.5) * (_HEIGHT - 24)

    parts = [
        f'<line class="axis" x1="{left}" y1="{bottom}" x2="{left + _WIDTH}" y2="{bottom}"/>',
        f'<line class="axis" x1="{left}" y1="{_TOP}" x2="{left}" y2="{bottom}"/>',
        f'<text x="{left + _WIDTH / 2}" y="{bottom + 40}" text-anchor="middle">{NAMES[name]}</text>',
    ]
    ticks = sorted({min(values), max(values)} if log else set(values))
    for tick in ticks:
        shown = f"{10**tick:.2g}" if log else f"{tick:g}"
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{shown}</text>')
    for loss in sorted({low, high}):
        parts.append(f'<text x="{left - 6}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.3f}</text>')
    if n == 0:
        parts.append(f'<text x="4" y="{_TOP - 6}">validation loss, nats (lower is better; red: chosen)</text>')
    order = sorted(range(len(trials)), key=lambda i: trials[i][2])  # the best is drawn last, on top
    for i in order:
        _, loss, best = trials[i]
        parts.append(
            f'<circle class="{"best" if best else "dot"}" cx="{x(values[i]):.1f}" cy="{y(loss):.1f}" r="{6 if best else 4}">'
            f"<title>{loss:.4f}</title></circle>"
        )
    return "\n".join(parts)
