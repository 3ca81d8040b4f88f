"""`bough audit export`: the ledger as lines that can be verified without Bough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.files import as_exhausted


def run(session: Session, after: int, output: Path | None) -> None:
    lines: Iterator[str] = (each.line for each in session.client().audit.export(after=after))
    if output is None:
        for line in lines:
            sys.stdout.write(line + "\n")
        return
    count = 0
    with as_exhausted(output), output.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
    entries = max(count - 1, 0)
    session.answer({"entries": entries, "file": str(output)}, text=f"{entries:,} entries and the signed head: {output}")


command = make(
    "export",
    "Writes every entry as the line that was hashed, and last the signed head.\n\nDocs: audit.md has a program of a "
    "few lines that verifies such a file without Bough.",
    [
        click.Option(["--after"], type=click.IntRange(0), default=0, help="Only entries above this number."),
        click.Option(["--output", "-o"], metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
                     help="Standard output without it."),
    ],
    run,
    examples="Example:\n  bough audit export -o ledger.jsonl",
)  # fmt: skip
