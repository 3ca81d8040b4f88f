"""Files of this machine, sent to tables and fetched from them."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

import click

from bough.client import Client
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import environment
from bough.entrypoints.cli.session import Session, project_name
from bough.kernel.errors import Invalid, Problem
from bough.kernel.files import as_exhausted

_FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json",
    ".ndjson": "json",
}  # fmt: skip


def place() -> list[click.Parameter]:
    """Options that say where a table is."""
    return [
        environment(),
        click.Option(["--project"], metavar="NAME", help="Project; that of the nearest bough.toml."),
    ]


def message() -> click.Option:
    return click.Option(["--message", "-m"], default="", metavar="TEXT", help="Why; shown in the history.")


def source(*, required: bool = True) -> click.Argument:
    shown = "FILE" if required else "[FILE]"
    return click.Argument(["file"], required=required, metavar=shown, help="A Parquet, CSV or JSON file.")


def located(project: str | None, environment: str) -> dict[str, Any]:
    return {"project": project or project_name(), "environment": environment}


def format_of(path: Path) -> str:
    """By the end of its name."""
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        what = f"{path} is not named like a table file; {', '.join(_FORMATS)} are known"
        raise Invalid(what, code="FORMAT_UNKNOWN", hint=f"mv {path.name} {path.stem}.parquet, if that is what it is")
    return found


def send(client: Client, path: Path) -> dict[str, str]:
    """Uploads a file, unless it is there; the fields that name it in a request."""
    format = format_of(path)
    try:
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            if client.blobs.missing(digests=[digest]):
                content.seek(0)
                client.upload(digest, content, os.fstat(content.fileno()).st_size)
    except OSError as error:
        raise Invalid(
            f"{path} cannot be read; {error.strerror}", code="FILE_UNREADABLE", hint=f"ls -l {path}"
        ) from error
    return {"blob": digest, "format": format}


def fetch(client: Client, digest: str, path: Path) -> None:
    """Writes a blob to `path`, which is whole or as it was before."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    found = hashlib.sha256()
    try:
        with as_exhausted(path.parent), part.open("wb") as file:
            for piece in client.download(digest):
                found.update(piece)
                file.write(piece)
        if found.hexdigest() != digest:
            raise Problem(f"{path} did not arrive whole", code="TRANSFER_INCOMPLETE", hint="run the same command again")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def adding(verb: str, help: str) -> click.Command:
    """A command that gives the rows of a file to the operation `tables.VERB`."""

    def run(session: Session, name: str, file: str, message: str, environment: str, project: str | None) -> None:
        client = session.client()
        fields = located(project, environment) | send(client, Path(file))
        session.answer(client.call(f"tables.{verb}", **fields, name=name, message=message))

    about = click.Argument(["name"], metavar="NAME", help="Name of the table.")
    examples = f"Example:\n  bough tables {verb} orders today.csv"
    return make(verb, help, [about, source(), message(), *place()], run, examples=examples)
