"""`bough promotions timeline`: the stages of a promotion and what both versions did in them, in words, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.drawing import columns_of, paint_state
from bough.entrypoints.cli.options import Picture
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.files import save

Answer = Mapping[str, Any]
SIDES = ("candidate", "champion")
_ROW, _BAR, _LABEL, _WIDTH = 52, 22, 130, 520  # pixels: a stage, its bar, its name, all of the time
_LETTER = 7.2  # pixels of a letter of the text, generously
_WORDS = 24  # columns of a bar on a terminal
_STYLE = """
svg { font: 12px sans-serif; background: #fff; color: #1d2430 } text { fill: currentColor }
.quiet { opacity: .7 } .title { font-weight: 600 }
@media (prefers-color-scheme: dark) { svg { background: #14181f; color: #e6eaf0 } }
"""
_COLOURS = {"rolling": "#1a7f37", "shadowing": "#8250df", "aborted": "#c62828", "done": "#1a7f37"}


def run(session: Session, id: str, picture: Path | None) -> None:
    found = session.client().promotions.timeline(id=id)
    if picture:
        save(picture, drawn(found))
    session.answer(found, text=text(session, found) + (f"\n\n{picture}" if picture else ""))


def text(session: Session, of: Answer) -> str:
    head = f"{of['name']} in {of['project']}/{of['environment']}: {paint_state(of['state'], session.colour)}"
    parts = [head + (f", {of['why']}" if of["why"] else ""), "", _versions(of), "", _stages(of)]
    failed = [f"  {each['gate']}: {each['said']}" for each in of["gates"] if not each["passed"]]
    if of["gates"]:
        parts += ["", f"gates: {len(of['gates']) - len(failed)} of {len(of['gates'])} passed", *failed]
    return "\n".join(parts)


def drawn(of: Answer) -> str:
    """A row for each stage, on one axis of time; the share of the candidate fills its bar from below, and what both
    sides answered stands under it."""
    begin, end = _span(of)
    shapes = [f'<text class="title" x="4" y="18">{escape(_title(of))}</text>']
    for number, each in enumerate(of["stages"]):
        top = 34 + number * _ROW
        left = _LABEL + _WIDTH * (each["began_at"] - begin) / (end - begin)
        width = max(2.0, _WIDTH * ((each["ended_at"] or of["now"]) - each["began_at"]) / (end - begin))
        colour, filled = _COLOURS.get(each["state"], "#9aa5b1"), _BAR * each["percent"] / 100
        at = f'x="{left:.1f}" width="{width:.1f}"'
        shapes += [
            f'<text x="4" y="{top + 16}">{escape(_stage(each))}</text>',
            f'<rect {at} y="{top}" height="{_BAR}" fill="{colour}" opacity="0.25"/>',
            f'<rect {at} y="{top + _BAR - filled:.1f}" height="{filled:.1f}" fill="{colour}"/>',
            f'<text class="quiet" x="{_LABEL}" y="{top + _BAR + 15}">{escape(_said(each))}</text>',
        ]
    height = 50 + _ROW * len(of["stages"])
    shapes.append(
        f'<text class="quiet" x="{_LABEL}" y="{height - 6}">{drawing.moment(begin)}, {end - begin:.0f} s</text>'
    )
    note = max((len(_said(each)) for each in of["stages"]), default=0)
    width = max(_LABEL + 8 + max(_WIDTH, _LETTER * note), 8 + _LETTER * len(_title(of)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}"><style>{_STYLE}</style>{"".join(shapes)}</svg>\n'
    )


def _title(of: Answer) -> str:
    versions = ", ".join(f"{each['side']} {of['name']}/{each['number']}" for each in of["versions"])
    return f"{of['project']}/{of['environment']}: {versions}; {of['state']}" + (f", {of['why']}" if of["why"] else "")


def _said(stage: Answer) -> str:
    """What both sides answered in a stage; empty of one in which nobody was asked."""
    asked = [(side, stage[side]) for side in SIDES if stage[side]["requests"]]
    return "; ".join(
        f"{side} {each['requests']}, {100 * each['error_rate']:.2g} % errors, p95 {each['p95_ms']:g} ms"
        for side, each in asked
    )


def _stage(of: Answer) -> str:
    return f"{of['state']} {of['percent']:g} %" if of["state"] == "rolling" else str(of["state"])


def _span(of: Answer) -> tuple[float, float]:
    stages = of["stages"]
    begin = stages[0]["began_at"] if stages else of["now"]
    end = max((each["ended_at"] or of["now"] for each in stages), default=begin)
    return begin, max(end, begin + 1.0)


def _versions(of: Answer) -> str:
    metrics = sorted({name for each in of["versions"] for name in each["metrics"]})
    rows = [["", "VERSION", "SHARE", "REQUESTS", "ERRORS", "P50 MS", "P95 MS", "P99 MS", *map(str.upper, metrics)]]
    for each in of["versions"]:
        did = each["answered"]
        quality = [f"{each['metrics'][name]:g}" if name in each["metrics"] else "" for name in metrics]
        latency = [f"{did[name]:g}" for name in ("p50_ms", "p95_ms", "p99_ms")]
        counted = [f"{each['percent']:g} %", str(did["requests"]), str(did["errors"])]
        rows.append([each["side"], f"{of['name']}/{each['number']}", *counted, *latency, *quality])
    return columns_of(rows)


def _stages(of: Answer) -> str:
    begin, end = _span(of)
    rows = [["STAGE", "BEGAN", "SECONDS", "WHEN", "ANSWERED"]]
    for each in of["stages"]:
        until = each["ended_at"] or of["now"]
        left = min(_WORDS - 1, int(_WORDS * (each["began_at"] - begin) / (end - begin)))
        width = max(1, min(_WORDS - left, round(_WORDS * (until - each["began_at"]) / (end - begin))))
        bar = "·" * left + "█" * width + "·" * (_WORDS - left - width)
        lasts = f"{until - each['began_at']:.1f}" + ("" if each["ended_at"] else " …")
        rows.append([_stage(each), drawing.moment(each["began_at"]), lasts, bar, _said(each)])
    return columns_of(rows)


command = make(
    "timeline",
    "Shows how a promotion went: its stages, each version's share, errors, latency and metrics, and its gates.",
    [
        click.Argument(["id"], metavar="PROMOTION", help="Its id."),
        click.Option(["--picture"], type=Picture(), metavar="FILE.svg", help="Draw the stages into a file."),
    ],
    run,
    examples="Example:\n  bough promotions timeline PROMOTION --picture rollout.svg",
)
