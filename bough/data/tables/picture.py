"""A drawing of how columns differ between two states: an SVG that reads well on light and on dark ground."""

from __future__ import annotations

from html import escape

from bough.data.tables.comparing import ColumnDifference, TableDifference

WIDTH, PANEL, TOP, BAR_AREA, GUTTER = 880, 210, 96, 108, 40
LARGE, SOME = 0.25, 0.1  # of the population stability index, by convention
_STYLE = """
svg { font: 13px system-ui, sans-serif; background: #fff; color: #1d2430 }
text { fill: currentColor } .quiet { opacity: .62; font-size: 11px } .title { font-size: 18px; font-weight: 600 }

.name { font-weight: 600 } .before { fill: #8a97a8 } .after { fill: #2f7de1 }
.line { stroke: currentColor; opacity: .25 }
.large { fill: #d4472f } .some { fill: #b7791f } .small { fill: #2f855a }
@media (prefers-color-scheme: dark) { svg { background: #14181f; color: #e6eaf0 } .before { fill: #66748a }
.after { fill: #5aa2ff } .large { fill: #ff7a62 } .some { fill: #f0b45b } .small { fill: #68c99a } }
"""


def draw(found: TableDifference, before: str, after: str) -> str:
    """The columns whose values moved, the furthest first."""
    columns = sorted(found.columns, key=lambda each: (-each.shift, each.name))
    height = TOP + PANEL * max(len(columns), 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(f"{found.name}: {before} and {after}")}"><style>{_STYLE}</style>',
        _text(GUTTER, 36, found.name, "title"),
        _text(GUTTER, 58, f"{found.rows_before:,} rows, then {found.rows_after:,}: {found.added:,} added, "
              f"{found.removed:,} removed, {found.changed:,} changed", "quiet"),
        *_legend(before, after),
    ]  # fmt: skip
    if not columns:
        parts.append(_text(GUTTER, TOP + 40, "No column's values moved.", ""))
    for at, each in enumerate(columns):
        parts += _panel(each, TOP + at * PANEL)
    return "".join(parts) + "</svg>\n"


def _legend(before: str, after: str) -> list[str]:
    y = 74
    shift = GUTTER + 24 + 8 * len(before)
    return [
        f'<rect class="before" x="{GUTTER}" y="{y}" width="11" height="11" rx="2"/>',
        _text(GUTTER + 17, y + 10, before, ""),
        f'<rect class="after" x="{shift + 20}" y="{y}" width="11" height="11" rx="2"/>',
        _text(shift + 37, y + 10, after, ""),
    ]  # fmt: skip


def _panel(column: ColumnDifference, y: int) -> list[str]:
    size = "large" if column.shift > LARGE else "some" if column.shift > SOME else "small"
    parts = [
        f'<line class="line" x1="{GUTTER}" x2="{WIDTH - GUTTER}" y1="{y + 8}" y2="{y + 8}"/>',
        _text(GUTTER, y + 32, column.name, "name"),
        _text(GUTTER + 9 * len(column.name) + 10, y + 32, column.type.lower(), "quiet"),
        _text(WIDTH - GUTTER, y + 32, f"shift {column.shift:.2f}", size, end=True),
    ]
    base = y + 50 + BAR_AREA
    highest = max((max(each.before, each.after) for each in column.bins), default=0) or 1.0
    step = (WIDTH - 2 * GUTTER) / max(len(column.bins), 1)
    bar = min(step * 0.36, 40)
    for at, each in enumerate(column.bins):
        middle = GUTTER + step * (at + 0.5)
        for side, share, x in (("before", each.before, middle - bar - 1), ("after", each.after, middle + 1)):
            tall = round(BAR_AREA * share / highest, 1)
            parts.append(
                f'<rect class="{side}" x="{x:.1f}" y="{base - tall:.1f}" width="{bar:.1f}" height="{tall:.1f}" rx="2">'
                f"<title>{side}: {share:.1%}</title></rect>"
            )
        parts.append(_text(round(middle), base + 16, _short(each.label, step), "quiet", middle=True))
    return [*parts, _text(GUTTER, base + 36, _figures(column), "quiet")]


def _figures(column: ColumnDifference) -> str:
    said: list[str] = []
    for what, one, other in (
        ("mean", column.before.mean, column.after.mean),
        ("nulls", column.before.nulls, column.after.nulls),
        ("least", column.before.least, column.after.least),
        ("greatest", column.before.greatest, column.after.greatest),
    ):
        if one != other and not (what == "mean" and one is None):
            said.append(f"{what} {_number(one)} → {_number(other)}")
    return "   ".join(said)


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:24]


def _short(label: str, width: float) -> str:
    fits = max(int(width / 6.4), 3)
    return label if len(label) <= fits else label[: fits - 1] + "…"


def _text(x: float, y: float, text: str, kind: str, *, end: bool = False, middle: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ' text-anchor="middle"' if middle else ""
    return f'<text class="{kind}" x="{x}" y="{y}"{anchor}>{escape(text)}</text>'
