"""`bough runs compare`: runs side by side, in words and as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli.drawing import cell, columns_of
from bough.entrypoints.cli.options import Picture
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, project_name
from bough.kernel.files import save


def run(session: Session, ids: tuple[str, ...], picture: Path | None, project: str | None) -> None:
    client = session.client()
    found = client.runs.compare(project=project or project_name(), ids=list(ids), picture=picture is not None)
    if picture is not None:
        save(picture, found.picture)
    head = ["", "", *(run.name for run in found.runs)]
    lines = [head, ["", "began", *(cell("at", run.started_at) for run in found.runs)]]
    lines.append(["", "status", *(run.status for run in found.runs)])
    lines += [[each.what, each.key, *each["values"]] for each in found.differences]
    session.answer(dict(found) | {"picture": str(picture or "")}, text=columns_of(lines))


command = make(
    "compare",
    "Compares runs: every parameter, metric, input and source that is not the same in all of them.\n\n"
    "Of one run, all of them are shown.",
    [
        click.Argument(["ids"], nargs=-1, required=True, metavar="RUN...", help="Ids of runs."),
        click.Option(["--picture"], type=Picture(), metavar="FILE.svg", help="Draw how each metric went into a file."),
        click.Option(["--project"], metavar="NAME", help="Project; that of the nearest bough.toml."),
    ],
    run,
    examples="Example:\n  bough runs compare RUN RUN --picture metrics.svg",
)
