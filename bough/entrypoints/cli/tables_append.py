"""`bough tables append`: the rows of a file, added."""

from __future__ import annotations

from bough.entrypoints.cli import tables_files as files

command = files.adding(
    "append",
    "Adds the rows of a file to a table.\n\nColumns go by name, in any order. With a key, a row "
    "whose key is there already is refused.",
)
