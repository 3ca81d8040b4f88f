"""Curves of replicas: on a terminal, and as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from bough.entrypoints.cli import drawing

_BARS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT = 100, 8
EPOCH_S = 1e9  # what is later counts from 1970: no trace is thirty years long
_REQUESTS, _ACTIVE, _POOL, _LATE_COST = "#9aa5b1", "#1a7f37", "#bf8700", "#0969da"


def curve(points: Sequence[Any], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Replicas that answer, drawn as bars; below, a line of requests, one of the pool, and one of what a late request
    weighed where that was learnt."""
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
    if learnt := _learnt(points):
        costs = _columns([float(each.late_cost) for each in points], width)
        lines.append("late cost▏" + "".join(_bar(value / learnt[1]) for value in costs) + f" {_span(learnt)}")
    begin, end = _said(points[0].at), _said(points[-1].at)
    lines.append(" " * 10 + begin + end.rjust(max(len(end) + 2, len(columns) - len(begin))))
    return "\n".join(lines)


def svg(
    title: str, points: Sequence[Any], marks: Sequence[tuple[float, str]] = (), width: int = 900, height: int = 260
) -> str:
    """The same for a page: requests in grey, replicas in green, the pool in ochre by the same scale, and in blue what a
    late request weighed, where that was learnt. `marks`: moments that have a reason, as lines that say it when they are
    pointed at."""
    most = max([1.0, *(float(each.active + each.pool) for each in points)])
    peak = max([1.0, *(float(each.requests) for each in points)])
    lines = [
        ("requests", _REQUESTS, peak, f"requests, {peak:.0f} at most"),
        ("active", _ACTIVE, most, f"replicas that answer, {max([0, *(each.active for each in points)])} at most"),
    ]
    if any(each.pool for each in points):
        lines.append(("pool", _POOL, most, f"in the pool, {max(each.pool for each in points)} at most"))
    if learnt := _learnt(points):
        lines.append(("late_cost", _LATE_COST, learnt[1], f"weight of a late request, {_span(learnt)}"))
    step = width / max(1, len(points) - 1)
    drawn, legend = _axes(points, most, width, height), []
    for name, colour, top, said in lines:
        places = " ".join(
            f"{at * step:.1f},{height - 20 - float(getattr(each, name)) / top * (height - 66):.1f}"
            for at, each in enumerate(points)
        )
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{places}"/>')
        legend.append(f'<tspan fill="{colour}" dx="12">{said}</tspan>')
    begin, end = (float(points[0].at), float(points[-1].at)) if points else (0.0, 0.0)
    for at, why in marks:
        place = width * (at - begin) / max(1.0, end - begin)
        drawn.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="40" y2="{height - 20}" stroke="#8250df" '
            f'stroke-dasharray="2 3"><title>{escape(why)}</title></line>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><text x="4" y="14">{escape(title)}</text><text x="-8" y="30">{"".join(legend)}</text>'
        f"{''.join(drawn)}</svg>\n"
    )


def _axes(points: Sequence[Any], most: float, width: int, height: int) -> list[str]:
    """How many replicas a height is, and what time it is at both ends and in the middle."""
    drawn = []
    for share in (0.0, 0.5, 1.0):
        y = height - 20 - share * (height - 66)
        drawn.append(f'<line x1="0" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d0d7de" stroke-width="0.5"/>')
        if share:
            drawn.append(f'<text x="2" y="{y - 3:.1f}" font-size="10" fill="#6e7781">{most * share:g}</text>')
    ends = (points[0].at, (points[0].at + points[-1].at) / 2, points[-1].at) if points else ()
    for at, x, anchor in zip(ends, (2, width / 2, width - 2), ("start", "middle", "end"), strict=False):
        drawn.append(
            f'<text x="{x:g}" y="{height - 6}" font-size="10" fill="#6e7781" text-anchor="{anchor}">{_said(at)}</text>'
        )
    return drawn


def _said(at: float) -> str:
    """A moment of the epoch, or so many seconds after a trace began."""
    return drawing.moment(at) if at > EPOCH_S else f"{at:.0f} s"


def _learnt(points: Sequence[Any]) -> tuple[float, float] | None:
    """The least and the most that a late request weighed; None where nobody learnt it, so that it stayed as it was."""
    known = [float(each.late_cost) for each in points if each.late_cost]
    return (min(known), max(known)) if known and min(known) < max(known) else None


def _span(learnt: tuple[float, float]) -> str:
    return f"{learnt[0]:.1f} to {learnt[1]:.1f}"


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
