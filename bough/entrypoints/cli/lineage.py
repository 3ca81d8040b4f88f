"""`bough lineage`: what a model came from and where it serves, as a tree or as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli.options import Picture, environment
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, project_name
from bough.kernel.files import save


def run(session: Session, of: str, project: str, svg: Path | None, **chosen: Any) -> None:
    where = project or project_name()
    found = session.client().lineage.show(project=where, of=of, picture=svg is not None, **chosen)
    if svg is not None:
        save(svg, found.svg)
        session.note(f"drawn: {svg}")
    session.answer(found, text="\n".join(tree(found, chosen["up"], chosen["down"])))


def tree(found: Mapping[str, Any], up: bool = False, down: bool = False) -> list[str]:
    """Lines: the thing itself, what it was made from, what was made with it. A thing that stands there already is
    named again and not followed again, so that circles end."""
    things = {each["id"]: each for each in found["things"]}
    start, more = found["start"], set(found.get("more", ()))
    lines = [_line(things[start], "", False)]
    for title, wanted, near, far in (
        ("made from", up or not down, "target", "source"), ("made with it", down or not up, "source", "target"),
    ):  # fmt: skip
        if not wanted:
            continue
        steps: dict[str, list[tuple[str, str]]] = {}
        for each in found["arrows"]:
            steps.setdefault(each[near], []).append((each[far], each.get("how", "")))
        lines += ["", f"{title}:" if start in steps else f"{title}: nothing" + (" nearer" if start in more else "")]
        lines += _below(start, steps, things, more, {start})
    return lines


def _below(
    start: str, steps: Mapping[str, Sequence[tuple[str, str]]], things: Mapping[str, Any], more: set[str],
    shown: set[str],
) -> list[str]:  # fmt: skip
    """Depth first, without recursion: a chain may be long."""
    lines: list[str] = []
    stack = [(each, "", last) for each, last in _lasts(steps.get(start, ()))]
    while stack:
        (id, how), indent, last = stack.pop()
        again = id in shown and bool(steps.get(id))
        text = _line(things[id], how, again) + (" …" if id in more and not again else "")
        lines.append(f"{indent}{'└─' if last else '├─'} {text}")
        if id in shown:
            continue
        shown.add(id)
        inner = indent + ("   " if last else "│  ")
        stack += [(each, inner, end) for each, end in _lasts(steps.get(id, ()))]
    return lines


def _lasts(steps: Sequence[tuple[str, str]]) -> list[tuple[tuple[str, str], bool]]:
    """In the order of a stack, each with whether it is the last that will be printed."""
    ordered = sorted(steps)
    return [(each, at == len(ordered) - 1) for at, each in enumerate(ordered)][::-1]


def _line(thing: Mapping[str, Any], how: str, again: bool) -> str:
    name = thing["name"] + (f" @{thing['version']}" if thing.get("version") else "")
    said = [how] if how and how not in (thing["kind"], "code", "version") else []
    said += [f"{key} {value}" for key, value in sorted(thing.get("details", {}).items()) if key in _SHOWN]
    kind = thing["kind"].replace("_", " ")
    return f"{kind} {name}" + (f"  ({', '.join(said)})" if said else "") + ("  (see above)" if again else "")


_SHOWN = ("state", "release", "by", "environment")

command = make(
    "lineage",
    "Shows what a model was made from and where it serves.\n\nOF is a model: NAME (its champion, else the newest "
    "version), NAME@ALIAS or NAME/N; or KIND:NAME, with the kinds dataset, table, feature_view, run, service, release, "
    "deployment, commit, bundle, python_environment, job, outside; or an id as --json shows it.",
    [
        click.Argument(["of"], metavar="OF", help="A model, or KIND:NAME."),
        click.Option(["--project"], default="", help="Project; that of the nearest bough.toml."),
        environment(),
        click.Option(["--up"], is_flag=True, help="Only what it was made from."),
        click.Option(["--down"], is_flag=True, help="Only what was made with it."),
        click.Option(["--depth"], type=click.IntRange(1, 50), default=10, show_default=True,
                     help="Edges away from it, at most."),
        click.Option(["--past"], is_flag=True, help="Also releases that serve no more."),
        click.Option(["--svg"], metavar="FILE.svg", type=Picture(), help="Draw it into this file as well."),
    ],
    run,
    examples="Examples:\n  bough lineage churn@champion\n  bough lineage table:orders --down\n"
    "  bough lineage churn/7 --svg churn.svg",
)  # fmt: skip
