"""`bough mirrors page`: a comparison as a page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.files import write_whole

Answer = Mapping[str, Any]
BAR_PX = 260
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --one: #4c78a8; --two: #e08a2c; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .9em; overflow-wrap: anywhere; } .dim { opacity: .7; }
.bar { fill: var(--one); } .bar.two { fill: var(--two); } text { fill: currentColor; font-size: 12px; }
"""


def run(session: Session, id: str, to: Path) -> None:
    found = session.client().mirrors.report(id=id)
    write_whole(to, page(found).encode())
    session.answer({"page": str(to), "services": len(found["services"])}, text=f"{to}")


def page(of: Answer) -> str:
    """The whole document; everything that requests or answers say is escaped."""
    what = f"{of['project']}: {of['source']} and {of['target']}"
    parts = [f"<h1>{escape(what)}</h1>", f"<p class=dim>{escape(_when(of))}</p>"]
    if why := of["details"].get("why"):
        parts.append(f"<p>{escape(str(why))}</p>")
    parts += [_service(each) for each in of["services"]] or ["<p>Nothing was compared yet.</p>"]
    return (
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{escape(what)}</title><style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _when(of: Answer) -> str:
    time = f"{drawing.moment(of['started_at'])} to {drawing.moment(of['ended_at'])}"
    return f"{of['kind']} {of['id']}, {of['state']}, {time}"


def _service(of: Answer) -> str:
    share = f" ({100 * of['same'] / of['compared']:.1f} %)" if of["compared"] else ""
    said = (
        f"{of['compared']} of {of['seen']} requests compared, {of['left_out']} left out, {of['same']} the same{share}"
    )
    sides = (of["source"], of["target"])
    rows = [
        ("answers", *(each["answers"] for each in sides)), ("errors", *(each["errors"] for each in sides)),
        *((f"p{part} ms", *(each[f"p{part}_ms"] for each in sides)) for part in (50, 95, 99)),
        ("CPU s per 1,000", *(each["cpu_s_per_1000"] if each["cpu_s_per_1000"] >= 0 else "-" for each in sides)),
    ]  # fmt: skip
    parts = [
        f"<h2>{escape(of['service'])}</h2><p>{escape(said)}</p>",
        _table(("", *(each["environment"] for each in sides)), rows),
        _latencies(sides),
    ]
    if of["statuses"]:
        parts.append(_table(("status", "times"), of["statuses"].items()))
    if of["fields"]:
        fields = [(each["path"] or "(all)", each["different"], each["mean"], each["largest"]) for each in of["fields"]]
        parts.append(_table(("differs", "times", "mean", "at most"), fields))
    if of["examples"]:
        rows = [
            (each["id"], difference["path"] or "(all)", repr(difference["source"]), repr(difference["target"]))
            for each in of["examples"]
            for difference in each["differences"]
        ]
        parts.append(_table(("request", "where", *(each["environment"] for each in sides)), rows))
    return "".join(parts)


def _latencies(sides: tuple[Answer, Answer]) -> str:
    """Bars for the percentiles of both sides, on one scale."""
    longest = max((each[f"p{part}_ms"] for each in sides for part in (50, 95, 99)), default=0.0) or 1.0
    bars, y = [], 0
    for part in (50, 95, 99):
        for at, side in enumerate(sides):
            ms = side[f"p{part}_ms"]
            label = f"p{part} {side['environment']}"
            bars.append(
                f'<text x=0 y={y + 12}>{escape(label)}</text><rect class="bar{" two" if at else ""}" x=160 y={y + 2} '
                f"width={BAR_PX * ms / longest:.1f} height=12 /><text x={165 + BAR_PX * ms / longest:.1f} y={y + 12}>"
                f"{ms:g} ms</text>"
            )
            y += 18
        y += 6
    return f'<svg width=520 height={y} role=img aria-label="latencies">{"".join(bars)}</svg>'


def _table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """A column of numbers is set to the right, its head as well."""
    body = [list(each) for each in rows]
    right = [any(isinstance(value, int | float) for value in column) for column in zip(*body, strict=True)]

    def line(tag: str, values: Iterable[Any]) -> str:
        cells = (
            f"<{tag}{' class=n' if at_right else ''}><code>{escape(_text(value))}</code></{tag}>"
            for value, at_right in zip(values, right, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    return f"<table>{line('th', head)}{''.join(line('td', each) for each in body)}</table>"


def _text(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


command = make(
    "page",
    "Writes the comparison of a mirror or a replay as a page for a browser.",
    [
        click.Argument(["id"]),
        click.Option(["--to"], default="comparison.html", show_default=True, metavar="FILE",
                     type=click.Path(path_type=Path, dir_okay=False), help="Where to write it."),
    ],
    run,
)  # fmt: skip
