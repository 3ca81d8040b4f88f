"""`bough tables export`: a table as a folder that other engines read."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli import tables_files as files
from bough.entrypoints.cli.drawing import size
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Invalid
from bough.kernel.files import as_exhausted


def run(
    session: Session, name: str, folder: str, iceberg: bool, at: str, environment: str, project: str | None
) -> None:
    if not iceberg:
        raise Invalid("say as what the table is exported", code="USAGE", hint=f"bough tables export {name} {folder} "
                      "--iceberg; for one file: bough tables query --output")  # fmt: skip
    target = Path(folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Invalid(f"{folder} is there already and not an empty folder", code="FOLDER_NOT_EMPTY",
                      hint="name a new folder")  # fmt: skip
    client = session.client()
    fields = files.located(project, environment) | {"name": name, "at": at, "location": target.as_uri()}
    found = client.tables.export(**fields)
    for each in found:
        path = target / each.path
        with as_exhausted(target):
            path.parent.mkdir(parents=True, exist_ok=True)
        files.fetch(client, each.blob, path)
    data = [each for each in found if each.path.endswith(".parquet")]
    metadata = next(str(target / each.path) for each in found if each.path.endswith(".metadata.json"))
    total = sum(each.bytes for each in data)
    answer = {"metadata": metadata, "files": len(data), "bytes": total,
              "rewritten": sum(each.rewritten for each in data)}  # fmt: skip
    text = f"{metadata}\n{len(data)} data files, {size(total)}; {answer['rewritten']} written anew"
    session.answer(answer, text=text)


command = make(
    "export",
    "Writes a table as an Iceberg table (format 2), for other engines to read.\n\nData files are copied as they are; "
    "those with deleted rows are written without them.",
    [
        click.Argument(["name"], metavar="NAME", help="The table."),
        click.Argument(["folder"], metavar="FOLDER", help="A new or empty folder. Moved, it is no table any more."),
        click.Option(["--iceberg"], is_flag=True, help="As an Iceberg table."),
        click.Option(["--at"], default="", metavar="TIME|TAG", help="As it was then; also an age, such as 2h."),
        *files.place(),
    ],
    run,
    examples="Example:\n  bough tables export orders ./orders --iceberg\n  python -c \"from pyiceberg.table import "
    "StaticTable; print(StaticTable.from_metadata('orders/metadata/v1.metadata.json').scan().to_pandas())\"",
)  # fmt: skip
