"""Curves of replicas: on a terminal, and as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_BARS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT = 100, 8
_LINES = (("requests", "#9aa5b1"), ("active", "#1a7f37"), ("pool", "#bf8700"))


def curve(points: Sequence[Any], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Replicas that answer, drawn as bars; below, one line of requests."""
    if not points:
        return "nothing to draw"
    columns = _columns([float(each.active) for each in points], width)
    most = max([1.0, *columns])
    lines = []
    for row in range(height, 0, -1):
        level = "".join(_bar(value / most * height - (row - 1)) for value in columns)
        lines.append(f"{most * row / height:7.1f} ┤{level}")
    requests = _columns([float(each.requests) for each in points], width)
    peak = max([1.0, *requests])
    lines.append("requests ▏" + "".join(_bar(value / peak) for value in requests))
    pools = _columns([float(each.pool) for each in points], width)
    if max(pools, default=0.0) > 0:
        lines.append("    pool ▏" + "".join(_bar(value / max(pools)) for value in pools))
    return "\n".join(lines)


def svg(
    title: str, points: Sequence[Any], marks: Sequence[tuple[float, str]] = (), width: int = 900, height: int = 260
) -> str:
    """The same for a page: requests in grey by their own scale, replicas in green, the pool in ochre. `marks`: moments
    that have a reason, as lines that say it when they are pointed at."""
    most = max([1.0, *(float(each.active + each.pool) for each in points)])
    peak = max([1.0, *(float(each.requests) for each in points)])
    scale = {"requests": peak, "active": most, "pool": most}
    step = width / max(1, len(points) - 1)
    drawn = []
    for name, colour in _LINES:
        places = " ".join(
            f"{at * step:.1f},{height - 20 - float(getattr(each, name)) / scale[name] * (height - 50):.1f}"
            for at, each in enumerate(points)
        )
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{places}"/>')
    begin, end = (float(points[0].at), float(points[-1].at)) if points else (0.0, 0.0)
    for at, why in marks:
        place = width * (at - begin) / max(1.0, end - begin)
        drawn.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="24" y2="{height - 20}" stroke="#8250df" '
            f'stroke-dasharray="2 3"><title>{escape(why)}</title></line>'
        )
    text = f"{title} — most {most:.0f} replicas"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><text x="4" y="14">{escape(text)}</text>{"".join(drawn)}</svg>\n'
    )


def _columns(values: Sequence[float], width: int) -> list[float]:
    """The most of what falls into each column."""
    if len(values) <= width:
        return list(values)
    found = [0.0] * width
    for at, value in enumerate(values):
        column = at * width // len(values)
        found[column] = max(found[column], value)
    return found


def _bar(share: float) -> str:
    return _BARS[max(0, min(len(_BARS) - 1, round(share * (len(_BARS) - 1))))]
