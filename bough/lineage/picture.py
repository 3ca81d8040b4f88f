"""A lineage as a layered drawing: causes on the left, effects on the right, no box on another, no line through a box.

Four steps, as Sugiyama has them: turn round what closes a circle, give each thing the column after its latest cause,
order each column by where its neighbours are (arrows over several columns take a place in each), and draw.
"""

from __future__ import annotations

import re
from itertools import pairwise
from xml.sax.saxutils import escape, quoteattr

import msgspec

from bough.lineage.models import Lineage, Thing

CHARACTER, HEIGHT, ACROSS, DOWN, MARGIN = 7.4, 44, 90, 18, 24  # pixels
LONGEST = 44  # characters of a name; the whole one is in the box's title
SWEEPS = 8  # over all columns: more change nothing that one would see
_COLOURS = {
    "version": "#4f46e5", "run": "#0d9488", "parameters": "#64748b", "dataset": "#b45309", "table": "#b45309",
    "feature_view": "#b45309", "commit": "#475569", "bundle": "#475569", "python_environment": "#475569",
    "release": "#be185d", "deployment": "#15803d", "service": "#15803d", "outside": "#7c3aed", "job": "#7c3aed",
}  # fmt: skip
_OTHER = "#64748b"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Way = tuple[str, ...]  # an arrow through all columns: its source, a place in each column between, its target


class Box(msgspec.Struct, frozen=True):
    """Where a thing is drawn."""

    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.y + HEIGHT / 2


def svg(found: Lineage) -> str:
    """One document that needs nothing else, for any program that shows SVG."""
    boxes, ways = layout(found)
    things = {each.id: each for each in found.things}
    labels = {(each.source, each.target): each.how for each in found.arrows}
    right = max(each.x + each.width for each in boxes.values()) + MARGIN
    low = max(each.y + HEIGHT for each in boxes.values()) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{right:.0f}" height="{low:.0f}" viewBox="0 0 {right:.0f}'
        f' {low:.0f}" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{_text(f'Lineage of {things[found.start].name}')}</title>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#94a3b8"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    lines += [_line([boxes[each] for each in way], labels[_ends(way, labels)], _ends(way, labels)) for way in ways]
    lines += [
        _box(thing, boxes[thing.id], chosen=thing.id == found.start, more=thing.id in found.more)
        for thing in found.things
    ]
    return "\n".join([*lines, "</svg>", ""])


def layout(found: Lineage) -> tuple[dict[str, Box], list[Way]]:
    """A box for every thing, and for every place of a long arrow in a column that it crosses."""
    names = [each.id for each in found.things]
    forward = _forward(names, [(each.source, each.target) for each in found.arrows])
    column = _columns(names, forward)
    ways: list[Way] = []
    columns: list[list[str]] = [[] for _ in range(max(column.values()) + 1)]
    for name in names:
        columns[column[name]].append(name)
    for source, target in forward:
        between = range(column[source] + 1, column[target])
        places = [f"\0{source}\0{target}\0{at}" for at in between]
        for at, place in zip(between, places, strict=True):
            columns[at].append(place)
        ways.append((source, *places, target))
    _order(columns, ways)
    return _place(columns, {each.id: _width(each) for each in found.things}), ways


def _forward(names: list[str], arrows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The arrows with those turned round that would close a circle."""
    following: dict[str, list[str]] = {name: [] for name in names}
    for source, target in arrows:
        following[source].append(target)
    done: set[str] = set()
    open_: dict[str, int] = {}
    back: set[tuple[str, str]] = set()
    for root in names:
        if root in done:
            continue
        stack, open_[root] = [root], 0
        while stack:
            here = stack[-1]
            if open_[here] == len(following[here]):
                del open_[stack.pop()]
                done.add(here)
                continue
            target = following[here][open_[here]]
            open_[here] += 1
            if target in open_:
                back.add((here, target))
            elif target not in done:
                stack.append(target)
                open_[target] = 0
    turned = ((target, source) if (source, target) in back else (source, target) for source, target in arrows)
    return list(dict.fromkeys(turned))


def _columns(names: list[str], arrows: list[tuple[str, str]]) -> dict[str, int]:
    """Each thing one column after its latest cause; who has no cause stands right before its first effect."""
    causes: dict[str, list[str]] = {name: [] for name in names}
    effects: dict[str, list[str]] = {name: [] for name in names}
    for source, target in arrows:
        causes[target].append(source)
        effects[source].append(target)
    left = {name: len(causes[name]) for name in names}
    order = [name for name in names if not left[name]]
    column: dict[str, int] = {}
    for name in order:
        column[name] = max((column[each] + 1 for each in causes[name]), default=0)
        for each in effects[name]:
            left[each] -= 1
            if not left[each]:
                order.append(each)
    for name in names:
        if not causes[name] and effects[name]:
            column[name] = min(column[each] for each in effects[name]) - 1
    lowest = min(column.values())
    return {name: at - lowest for name, at in column.items()}


def _order(columns: list[list[str]], ways: list[Way]) -> None:
    """Sorts each column by the mean place of its neighbours in the one before, forth and back."""
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for way in ways:
        for left, right in pairwise(way):
            before.setdefault(right, []).append(left)
            after.setdefault(left, []).append(right)
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        row = columns if forth else columns[::-1]
        for fixed, moving in pairwise(row):
            place = {name: at for at, name in enumerate(fixed)}
            known = before if forth else after
            own = {name: float(at) for at, name in enumerate(moving)}
            own |= {
                name: sum(near) / len(near)
                for name in moving
                if (near := [place[each] for each in known.get(name, ()) if each in place])
            }
            moving.sort(key=own.__getitem__)


def _place(columns: list[list[str]], width: dict[str, float]) -> dict[str, Box]:
    """Columns one beside the other, things of a column one below the other and near their neighbours."""
    tallest = max(len(names) for names in columns)
    boxes: dict[str, Box] = {}
    x = float(MARGIN)
    for names in columns:
        wide = max((width.get(name, 0.0) for name in names), default=0.0)
        y = MARGIN + (tallest - len(names)) * (HEIGHT + DOWN) / 2
        for name in names:
            boxes[name] = Box(x, y, wide)
            y += HEIGHT + DOWN
        x += wide + ACROSS
    return boxes


def _ends(way: Way, labels: dict[tuple[str, str], str]) -> tuple[str, str]:
    """Of the arrow that a way draws, which may have been turned round."""
    return (way[0], way[-1]) if (way[0], way[-1]) in labels else (way[-1], way[0])


def _line(boxes: list[Box], how: str, ends: tuple[str, str]) -> str:
    first = boxes[0]
    path = [f"M{first.x + first.width:.1f} {first.middle:.1f}"]
    at = (first.x + first.width, first.middle)
    for box in boxes[1:]:
        half = (at[0] + box.x) / 2
        path.append(f"C{half:.1f} {at[1]:.1f} {half:.1f} {box.middle:.1f} {box.x:.1f} {box.middle:.1f}")
        if box is not boxes[-1]:
            path.append(f"H{box.x + box.width:.1f}")
        at = (box.x + box.width, box.middle)
    title = f"<title>{_text(how)}</title>" if how else ""
    return (
        f'<path d="{" ".join(path)}" fill="none" stroke="#94a3b8" stroke-width="1.3" marker-end="url(#end)">'
        f"{title}</path>"
    )


def _box(thing: Thing, box: Box, *, chosen: bool, more: bool) -> str:
    colour = _COLOURS.get(thing.kind, _OTHER)
    said = "\n".join([_label(thing), *(f"{key}: {value}" for key, value in sorted(thing.details.items()))])
    edge = f'stroke="{colour}" stroke-width="{3 if chosen else 1.3}"' + (' stroke-dasharray="5 3"' if more else "")
    left, top = box.x + 12, box.y
    return (
        f"<g id={quoteattr(_valid(thing.id))}><title>{_text(said)}</title>"
        f'<rect x="{box.x:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{HEIGHT}" rx="6" fill="#ffffff" {edge}/>'
        f'<rect x="{box.x:.1f}" y="{top + 5:.1f}" width="4" height="{HEIGHT - 10}" fill="{colour}"/>'
        f'<text x="{left:.1f}" y="{top + 17:.1f}" font-size="11" fill="{colour}">'
        f"{_text(thing.kind.replace('_', ' '))}{' …' if more else ''}</text>"
        f'<text x="{left:.1f}" y="{top + 34:.1f}" fill="#0f172a">{_text(_short(_label(thing)))}</text></g>'
    )


def _label(thing: Thing) -> str:
    return f"{thing.name} @{thing.version}" if thing.version else thing.name


def _short(name: str) -> str:
    """Both ends of a long name: they tell it from others."""
    if len(name) <= LONGEST:
        return name
    half = (LONGEST - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _width(thing: Thing) -> float:
    name = _short(_label(thing))
    wide = sum(2 if ord(each) > 0x2E80 else 1 for each in name)  # CJK and pictures take twice the room
    return max(wide, len(thing.kind) + 2) * CHARACTER + 26


def _valid(text: str) -> str:
    """Without what XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)


def _text(text: str) -> str:
    return escape(_valid(text))
