"""Curves of replicas: on a terminal, and as SVG."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from html import escape
from typing import Any

from bough.entrypoints.cli import drawing

_BARS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT, _NAMES = 100, 8, 10  # characters: a curve at most, and what stands before it
EPOCH_S = 1e9  # what is later counts from 1970: no trace is thirty years long
_WIDE, _AREA, _LINE = 640, 200, 20  # pixels: the picture, the curves, a line of the legend; legible on a phone
_LEFT, _RIGHT = 44, 628  # where the curves begin and end
_STYLE = """
svg { font: 14px system-ui, sans-serif; background: #fff; color: #1d2430 } text { fill: currentColor }
.title { font-weight: 600 } .quiet { opacity: .7; font-size: 13px } polyline, path { fill: none; stroke-width: 1.6 }
.requests { stroke: #9aa5b1 } .active { stroke: #1a7f37 } .pool { stroke: #bf8700 } .late_cost { stroke: #0969da }
.grid { stroke: currentColor; stroke-width: .6; opacity: .25 } .mark { stroke: #8250df; stroke-dasharray: 2 3 }
@media (prefers-color-scheme: dark) { svg { background: #14181f; color: #e6eaf0 } .requests { stroke: #66748a }
.active { stroke: #4ac26b } .pool { stroke: #e0a82e } .late_cost { stroke: #5aa2ff } .mark { stroke: #b392f0 } }
"""


def curve(points: Sequence[Any], height: int = HEIGHT) -> str:
    """Replicas that answer, drawn as bars, no wider than the terminal; below, a line of requests, one of the pool, and
    one of what a late request weighed where that was learnt."""
    if not points:
        return "nothing to draw"
    learnt = _learnt(points)
    said = f" {_span(learnt)}" if learnt else ""
    there = shutil.get_terminal_size((_NAMES + WIDTH + len(said), 24)).columns  # of no terminal: as wide as ever
    width = max(20, min(WIDTH, there - _NAMES - len(said)))
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
    if learnt:
        costs = _columns([float(each.late_cost) for each in points], width)
        lines.append("late cost▏" + "".join(_bar(value / learnt[1]) for value in costs) + said)
    begin, end = _said(points[0].at), _said(points[-1].at)
    lines.append(" " * _NAMES + begin + end.rjust(max(len(end) + 2, len(columns) - len(begin))))
    return "\n".join(lines)


def svg(title: str, points: Sequence[Any], marks: Sequence[tuple[float, str]] = ()) -> str:
    """The same for a page, on light and on dark ground: requests in grey, replicas in green, the pool in ochre by the
    same scale, and in blue what a late request weighed, where that was learnt. `marks`: moments that have a reason, as
    lines that say it when they are pointed at."""
    most = max([1.0, *(float(max(each.active, each.pool)) for each in points)])
    peak = max([1.0, *(float(each.requests) for each in points)])
    each_s = (points[-1].at - points[0].at) / (len(points) - 1) if len(points) > 1 else 1.0
    asked = max([0.0, *(float(each.requests) for each in points)]) / each_s
    lines = [
        ("requests", peak, f"requests, {asked:.3g} a second at most"),
        ("active", most, f"replicas that answer, {max([0, *(each.active for each in points)])} at most"),
    ]
    if any(each.pool for each in points):
        lines.append(("pool", most, f"replicas in the pool, {max(each.pool for each in points)} at most"))
    if learnt := _learnt(points):
        lines.append(("late_cost", learnt[1], f"weight of a late request, {_span(learnt)}"))
    top = 34 + _LINE * len(lines)
    step = (_RIGHT - _LEFT) / max(1, len(points) - 1)
    drawn, legend = _axes(points, most, top), []
    for number, (name, highest, said) in enumerate(lines):
        places = " ".join(
            f"{_LEFT + at * step:.1f},{top + _AREA * (1 - float(getattr(each, name)) / highest):.1f}"
            for at, each in enumerate(points)
        )
        drawn.append(f'<polyline class="{name}" points="{places}"/>')
        y = 42 + _LINE * number
        legend.append(f'<path class="{name}" d="M{_LEFT} {y - 4}h18"/><text x="{_LEFT + 26}" y="{y}">{said}</text>')
    begin, end = (float(points[0].at), float(points[-1].at)) if points else (0.0, 0.0)
    for at, why in marks:
        x = _LEFT + (_RIGHT - _LEFT) * (at - begin) / max(1.0, end - begin)
        drawn.append(f'<path class="mark" d="M{x:.1f} {top}v{_AREA}"><title>{escape(why)}</title></path>')
    height = top + _AREA + 30
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {height}" width="{_WIDE}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><style>{_STYLE}</style><text class="title" x="{_LEFT}" y="22">'
        f"{escape(title)}</text>{''.join(legend)}{''.join(drawn)}</svg>\n"
    )


def _axes(points: Sequence[Any], most: float, top: float) -> list[str]:
    """How many replicas a height is, and what time it is at both ends and in the middle."""
    drawn = []
    for share in (0.0, 0.5, 1.0):
        y = top + _AREA * (1 - share)
        drawn.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>')
        many = f"{most * share:g}" if most * share < 100 else f"{most * share:.0f}"
        drawn.append(f'<text class="quiet" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{many}</text>')
    ends = (points[0].at, (points[0].at + points[-1].at) / 2, points[-1].at) if points else ()
    places = ((_LEFT, "start"), ((_LEFT + _RIGHT) // 2, "middle"), (_RIGHT, "end"))
    for at, (x, anchor) in zip(ends, places, strict=False):
        drawn.append(f'<text class="quiet" x="{x}" y="{top + _AREA + 20}" text-anchor="{anchor}">{_said(at)}</text>')
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
