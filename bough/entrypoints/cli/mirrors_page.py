"""`bough mirrors page`: a comparison as a page that needs nothing but a browser."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.files import save

Answer = Mapping[str, Any]
Sides = tuple[Answer, Answer]
NONE = "-"
PARTS = (50, 95, 99)
_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b1f24; --dim: #5d6671; --line: #e3e6ea;
  --one: #3f6fb5; --two: #d9822b; --good: #1a7f4b; --bad: #c0392b; }
@media (prefers-color-scheme: dark) { :root { --page: #111418; --card: #1a1e24; --ink: #e8eaed; --dim: #9aa4af;
  --line: #2c323a; --one: #6f9fe0; --two: #eda155; --good: #58c48a; --bad: #f0806f; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; padding: 2rem 1rem 4rem; background: var(--page);
  color: var(--ink); }
main { max-width: 60rem; margin: auto; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .2rem 0; } h2 { font-size: 1.2rem; margin: 0 0 1rem; }
h3 { font-size: .8rem; font-weight: 600; color: var(--dim); margin: 1.8rem 0 .5rem; }
p { margin: .3rem 0; } .dim { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.4rem;
  margin-top: 1.4rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 1rem; margin: 0; }
.tiles dt { font-size: .8rem; color: var(--dim); } .tiles dd { margin: 0; }
.tiles b { font-size: 1.5rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; display: block; }
.tiles small { color: var(--dim); }
.key i { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin: 0 .4em 0 0; }
.key span { margin-right: 1.2em; white-space: nowrap; font-size: .87rem; }
.one { background: var(--one); } .two { background: var(--two); }
.bars { display: grid; grid-template-columns: 2.6rem 1fr; gap: .5rem .6rem; align-items: center; }
.bars div { display: flex; align-items: center; gap: .5rem; margin: 2px 0; }
.bars i { height: .8rem; border-radius: 3px; min-width: 2px; flex: none; } .bars small { white-space: nowrap; }
.bars small, .bars > span { font-size: .8rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
th { font-size: .8rem; font-weight: 600; color: var(--dim); } tr:last-child td { border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: .87em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: minmax(6rem, 1fr) 2fr 2fr; gap: 0 1rem; padding: .35rem 0; }
.asked { border-bottom: 1px solid var(--line); padding: .4rem 0; } .asked:last-child { border: 0; }
.pair span { border-left: 3px solid; padding-left: .6rem; }
.pair .first { border-color: var(--one); } .pair .second { border-color: var(--two); }
@media (max-width: 34rem) { section { padding: 1rem; } .pair { grid-template-columns: 1fr; gap: .25rem; }
  th, td { padding-right: .5rem; } .tiles { grid-template-columns: 1fr 1fr; } }
"""


def run(session: Session, id: str, to: Path) -> None:
    found = session.client().mirrors.report(id=id)
    save(to, page(found))
    session.answer({"page": str(to), "services": len(found["services"])}, text=f"{to}")


def page(of: Answer) -> str:
    """The whole document; everything that requests or answers say is escaped."""
    what = f"{of['target']} against {of['source']}"
    parts = [f"<p class=dim>{escape(_kind(of))}</p><h1>{escape(what)}</h1><p class=dim>{escape(_when(of))}</p>"]
    if why := of["details"].get("why"):
        parts.append(f"<p class=bad>{escape(str(why))}</p>")
    parts += [_service(each) for each in of["services"]] or ["<section>Nothing was compared yet.</section>"]
    return (
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{escape(of['project'])}: {escape(what)}</title><style>{_STYLE}</style>"
        f"<main>{''.join(parts)}</main></html>\n"
    )


def _kind(of: Answer) -> str:
    share = of["details"].get("percent", 100.0)
    return f"{of['project']}, {of['kind']} {of['id']}, {of['state']}" + (f", {share:g} %" if share < 100 else "")


def _when(of: Answer) -> str:
    began = drawing.moment(of["started_at"])
    if of["state"] != "running":
        return f"{began} to {drawing.moment(of['ended_at'])}"
    until = of["details"].get("until")
    return f"since {began}, " + (f"until {drawing.moment(until)}" if until else "until it is stopped")


def _service(of: Answer) -> str:
    sides = before, after = (of["source"], of["target"])
    parts = [f"<h2>{escape(of['service'])}</h2>", _tiles(of, sides), _latencies(sides)]
    if of["statuses"]:
        both = f"{before['environment']} -> {after['environment']}"
        parts.append(_table("Statuses", (both, "times"), of["statuses"].items()))
    if of["fields"]:
        parts.append(_table("What differs", ("in the answer", "times", "mean", "at most"), map(_field, of["fields"])))
    if of["examples"]:
        asked = "".join(_example(each) for each in of["examples"])
        parts.append(f"<h3>Requests whose answers differ</h3>{asked}")
    return f"<section>{''.join(parts)}</section>"


def _tiles(of: Answer, sides: Sides) -> str:
    compared, before, after = of["compared"], *sides
    spent = [f"{each['cpu_s_per_1000']:,.3g} s" if each["cpu_s_per_1000"] >= 0 else NONE for each in sides]
    found = [
        ("the same answer", f"{_percent(of['same'], compared)}", f"{of['same']:,} of {compared:,}", ""),
        ("compared", f"{compared:,}", f"of {of['seen']:,} requests, {of['left_out']:,} left out", ""),
        ("errors", f"{after['errors']:,}", f"{before['errors']:,} in {before['environment']}",
         "bad" if after["errors"] > before["errors"] else ""),
        ("median", f"{after['p50_ms']:,.3g} ms", _change(before["p50_ms"], after["p50_ms"]), ""),
        ("CPU for 1,000", spent[1], f"{spent[0]} in {before['environment']}" if spent[0] != NONE else "", ""),
    ]  # fmt: skip
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd><b{f' class={colour}' if colour else ''}>{escape(value)}</b>"
        f"<small>{escape(about)}</small></dd></div>"
        for name, value, about, colour in found
    )
    return f"<dl class=tiles>{cells}</dl>"


def _latencies(sides: Sides) -> str:
    """Bars for the percentiles of both sides, on one scale."""
    longest = max((each[f"p{part}_ms"] for each in sides for part in PARTS), default=0.0) or 1.0
    rows = []
    for part in PARTS:
        bars = "".join(
            f'<div><i class={colour} style="width:{75 * side[f"p{part}_ms"] / longest:.1f}%"></i>'
            f"<small>{side[f'p{part}_ms']:,.3g} ms</small></div>"
            for side, colour in zip(sides, ("one", "two"), strict=True)
        )
        rows.append(f"<span class=dim>p{part}</span><div style=display:block>{bars}</div>")
    key = "".join(
        f"<span><i class={colour}></i>{escape(side['environment'])}, {side['answers']:,} answers</span>"
        for side, colour in zip(sides, ("one", "two"), strict=True)
    )
    return f"<h3>Latency</h3><p class=key>{key}</p><div class=bars>{''.join(rows)}</div>"


def _field(of: Answer) -> Sequence[Any]:
    """Amounts are there for numbers alone."""
    apart = (of["mean"], of["largest"]) if of["largest"] else (NONE, NONE)
    return of["path"] or "all of it", of["different"], *apart


def _example(of: Answer) -> str:
    pairs = "".join(
        f"<div class=pair><code>{escape(each['path'] or 'all of it')}</code>"
        f"<span class=first><code>{escape(_said(each['source']))}</code></span>"
        f"<span class=second><code>{escape(_said(each['target']))}</code></span></div>"
        for each in of["differences"]
    )
    return f"<div class=asked><small class=dim>request {escape(of['id'])}</small>{pairs}</div>"


def _table(title: str, head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """The first column is what requests and answers say; the others are numbers."""

    def line(tag: str, values: Iterable[Any]) -> str:
        first, *others = (escape(_text(value)) for value in values)
        first = f"<code>{first}</code>" if tag == "td" else first
        return f"<tr><{tag}>{first}</{tag}>{''.join(f'<{tag} class=n>{each}</{tag}>' for each in others)}</tr>"

    body = "".join(line("td", each) for each in rows)
    return f"<h3>{escape(title)}</h3><div class=wide><table>{line('th', head)}{body}</table></div>"


def _text(value: Any) -> str:
    if isinstance(value, float) and abs(value) < 1000:
        return f"{value:,.4g}"
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _percent(part: int, of: int) -> str:
    """Rounded down: what is not all of it never reads as 100 %."""
    return f"{1000 * part // of / 10:g} %" if of else NONE


def _change(before: float, now: float) -> str:
    return f"{100 * (now / before - 1):+.0f} % of {before:,.3g} ms" if before else ""


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
