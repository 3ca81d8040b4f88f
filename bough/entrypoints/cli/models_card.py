"""`bough models card`: Markdown on a screen, HTML in a file, data with --json."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, project_name


def run(session: Session, model: str, project: str, environment: str, html: Path | None) -> None:
    form = "html" if html else "markdown"
    place = {"project": project or project_name(), "environment": environment}
    page = session.client().models.card(**place, model=model, form=form)
    if html:
        html.write_text(page.text, "utf-8")
    session.answer(page.card, text=f"{model}: {html}" if html else page.text.rstrip())


command = make(
    "card",
    "Shows all that is known of a version: data, metrics, trust, gates, approvals, drift, what it looks at.\n\nIn "
    "Markdown; --json gives the same as data, --html a page.",
    [
        click.Argument(["model"], metavar="MODEL", help="NAME@ALIAS or NAME/NUMBER."),
        *data_store.common(),
        click.Option(["--html"], metavar="FILE", type=click.Path(path_type=Path), help="Write a page instead."),
    ],
    run,
    examples="Example:\n  bough models card churn@champion --html card.html",
)
