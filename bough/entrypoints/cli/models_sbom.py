"""`bough models sbom`: CycloneDX as JSON."""

from __future__ import annotations

import json

import click

from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, project_name


def run(session: Session, model: str, project: str, environment: str) -> None:
    place = {"project": project or project_name(), "environment": environment}
    bill = session.client().models.sbom(**place, model=model)
    for each in bill.vulnerabilities:
        fixed = f", fixed in {each.fixed}" if each.get("fixed") else ""
        session.note(f"{each.id}: {each.package} {each.version}{fixed}; {each.get('summary', '')}")
    if not bill.packages:
        session.note(
            f"no package of {model} is known: put requirements.txt with pinned lines, or pylock.toml, among its files, "
            "or register it with client.register_model in the process that trained it"
        )
    session.answer(bill.document, text=json.dumps(bill.document, indent=2))


command = make(
    "sbom",
    "Lists the Python packages of a version as CycloneDX, with what is known against them.\n\nWhat is known comes from "
    "advisories in the OSV format, in the folder osv of Bough's home or at $BOUGH_OSV_DIR of the server.",
    [click.Argument(["model"], metavar="MODEL", help="NAME@ALIAS or NAME/NUMBER."), *data_store.common()],
    run,
    examples="Example:\n  bough models sbom churn@champion > churn.cdx.json",
)
