"""`bough tables upsert`: the rows of a file, changed where their key is there and added elsewhere."""

from __future__ import annotations

from bough.entrypoints.cli import tables_files as files

command = files.adding(
    "upsert",
    "Changes the rows whose key is in a file, and adds the others of it.\n\nRows that are there already, just so, are "
    "not touched.",
)
