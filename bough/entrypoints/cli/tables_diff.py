"""`bough tables diff`: what differs between two states of tables, in words, and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli.drawing import columns_of
from bough.entrypoints.cli.options import Picture
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, project_name
from bough.kernel.errors import Invalid
from bough.kernel.files import save


def run(session: Session, before: str, after: str | None, name: str, picture: Path | None, project: str | None) -> None:
    if after is None:
        before, dots, after = before.partition("..")
        if not (before and dots and after):
            raise Invalid("two states are compared", code="USAGE", hint="bough tables diff main staging")
    client = session.client()
    fields = {"project": project or project_name(), "before": before, "after": after, "name": name}
    found = client.tables.diff(**fields, picture=picture is not None)
    if picture is not None:
        if len(found) != 1:
            names = ", ".join(each.name for each in found) or "none"
            raise Invalid(f"a picture shows one table, and {names} differ", code="USAGE", hint="--name TABLE")
        save(picture, found[0].picture)
    session.answer([dict(each) | {"picture": str(picture or "")} for each in found], text=_text(found))


def _text(found: Any) -> str:
    if not found:
        return "no table differs"
    return "\n\n".join(map(_table, found))


def _table(each: Any) -> str:
    lines = [f"{each.name}: {each.added} rows added, {each.removed} removed, {each.changed} changed"
             f" ({each.rows_before} -> {each.rows_after})"]  # fmt: skip
    lines += [f"  {change}" for change in each.schema]
    lines += [f"  {what}: {', '.join(keys)}" for what, keys in each.examples.items()]
    rows = [
        [column.name, f"{column.shift:.3f}", *(f"{column.before.get(key)} -> {column.after.get(key)}"
         for key in ("nulls", "least", "greatest", "mean"))]
        for column in each.columns
    ]  # fmt: skip
    if rows:
        lines.append(columns_of([["COLUMN", "SHIFT", "NULLS", "LEAST", "GREATEST", "MEAN"], *rows]))
    return "\n".join(lines)


command = make(
    "diff",
    "Compares tables of two states: rows by key, columns, and how their values are spread.\n\nSHIFT is the population "
    "stability index of a column: below 0.1 hardly any, above 0.25 a large one.",
    [
        click.Argument(["before"], metavar="BEFORE", help="An environment, a tag, ENVIRONMENT@WHEN; or A..B."),
        click.Argument(["after"], metavar="[AFTER]", required=False, help="The same."),
        click.Option(["--name"], default="", metavar="TABLE", help="One table; all that differ without it."),
        click.Option(["--picture"], type=Picture(), metavar="FILE.svg", help="Draw how values are spread into a file."),
        click.Option(["--project"], metavar="NAME", help="Project; that of the nearest bough.toml."),
    ],
    run,
    examples="Example:\n  bough tables diff main staging --name orders --picture orders.svg",
)  # fmt: skip
