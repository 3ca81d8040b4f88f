"""A drawing of how metrics went: an SVG that reads well on light and on dark ground."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from bough.tracking.models import Run, RunMetric, number

WIDTH, PANEL, AREA, GUTTER, ACROSS = 880, 210, 130, 40, 2
COLOURS = ("#2f7de1", "#d4472f", "#2f855a", "#b7791f", "#805ad5", "#0f9aa8", "#c0417f", "#6b7280")
_STYLE = """
svg { font: 13px system-ui, sans-serif; background: #fff; color: #1d2430 }
text { fill: currentColor } .quiet { opacity: .62; font-size: 11px } .title { font-size: 18px; font-weight: 600 }
.name { font-weight: 600 } .line { stroke: currentColor; opacity: .2 } polyline { fill: none; stroke-width: 1.8 }
@media (prefers-color-scheme: dark) { svg { background: #14181f; color: #e6eaf0 } }
"""


def draw(runs: Sequence[Run], curves: Mapping[str, Sequence[Sequence[RunMetric]]]) -> str:
    """A panel for each metric, a line for each run; a metric with one point per run is drawn as bars."""
    top = 64 + 20 * len(runs)
    height = top + PANEL * max(math.ceil(len(curves) / ACROSS), 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(", ".join(run.name for run in runs))}"><style>{_STYLE}</style>',
        _text(GUTTER, 36, runs[0].experiment if len(runs) == 1 else f"{len(runs)} runs", "title"),
    ]
    for at, run in enumerate(runs):
        y = 58 + 20 * at
        parts.append(f'<rect x="{GUTTER}" y="{y}" width="11" height="11" rx="2" fill="{_colour(at)}"/>')
        parts.append(_text(GUTTER + 18, y + 10, f"{run.name}  {run.status}", ""))
    if not curves:
        parts.append(_text(GUTTER, top + 40, "No metric was logged.", ""))
    wide = (WIDTH - GUTTER * (ACROSS + 1)) / ACROSS
    for at, (key, lines) in enumerate(curves.items()):
        x, y = GUTTER + (at % ACROSS) * (wide + GUTTER), top + (at // ACROSS) * PANEL
        parts += _panel(key, lines, x, y, wide)
    return "".join(parts) + "</svg>\n"


def _panel(key: str, lines: Sequence[Sequence[RunMetric]], x: float, y: float, wide: float) -> list[str]:
    values = [[(each.step, number(each.value)) for each in line] for line in lines]
    points = [each for line in values for each in line if math.isfinite(each[1])]
    parts = [_text(x, y + 20, key[:48], "name")]
    if not points:
        return [*parts, _text(x, y + 60, "no number", "quiet")]
    low, high = min(value for _, value in points), max(value for _, value in points)
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    base = y + 36 + AREA
    parts.append(_text(x + wide, y + 20, f"{low:.4g} … {high:.4g}", "quiet", end=True))
    parts.append(f'<line class="line" x1="{x:.1f}" x2="{x + wide:.1f}" y1="{base:.1f}" y2="{base:.1f}"/>')
    if max(map(len, lines)) <= 1:
        return parts + _bars(values, x, base, wide, min(low, 0.0), max(high, 0.0))
    for at, line in enumerate(values):
        places = " ".join(
            f"{x + wide * _share(step, first, last):.1f},{base - AREA * _share(value, low, high):.1f}"
            for step, value in line
            if math.isfinite(value)
        )
        parts.append(f'<polyline stroke="{_colour(at)}" points="{places}"/>')
    parts.append(_text(x, base + 15, f"step {first}", "quiet"))
    parts.append(_text(x + wide, base + 15, f"step {last}", "quiet", end=True))
    return parts


def _bars(
    lines: Sequence[Sequence[tuple[int, float]]], x: float, base: float, wide: float, low: float, high: float
) -> list[str]:
    parts, step = [], wide / len(lines)
    for at, line in enumerate(lines):
        if line and math.isfinite(line[0][1]):
            tall = max(AREA * _share(line[0][1], low, high), 1.0)
            parts.append(
                f'<rect x="{x + step * at + 2:.1f}" y="{base - tall:.1f}" width="{max(step - 4, 2):.1f}" '
                f'height="{tall:.1f}" rx="2" fill="{_colour(at)}"><title>{line[0][1]:.6g}</title></rect>'
            )
    return parts


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _colour(at: int) -> str:
    return COLOURS[at % len(COLOURS)]


def _text(x: float, y: float, text: str, kind: str, *, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{anchor}>{escape(text)}</text>'
