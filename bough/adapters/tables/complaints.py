"""What DuckDB complains about, as errors that a person can act on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bough.adapters.tables import Limits
from bough.kernel.errors import Exhausted, Invalid, Problem, TooLarge


@contextlib.contextmanager
def translated(limits: Limits, folder: Path) -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise problem(error, limits, folder) from error


def problem(error: Exception, limits: Limits, folder: Path) -> Problem:
    import duckdb

    said = first_line(str(error))
    if isinstance(error, duckdb.InterruptException):
        what = f"the query was stopped after {limits.seconds:g} s, its limit"
        return Invalid(what, code="QUERY_TOO_SLOW", hint="ask for less: a WHERE, fewer columns, an earlier aggregation")
    if "No space left" in said or "max_temp_directory_size" in said:
        what = f"no space left for the files of the query; {said}; nothing was changed"
        return Exhausted(what, code="DISK_FULL", hint=f"df -h {folder.parent}")
    if isinstance(error, duckdb.OutOfMemoryException):
        what = f"the query needs more than its {limits.memory_bytes >> 20} MiB of memory"
        return TooLarge(
            what, code="QUERY_TOO_LARGE", hint="ask for less: a WHERE, fewer columns, an earlier aggregation"
        )
    if isinstance(error, duckdb.PermissionException):
        return Invalid(
            "a query reads tables of its environment, and nothing else",
            code="SQL_FORBIDDEN",
            hint="bring the file in first: bough tables create NAME FILE",
        )
    if isinstance(error, duckdb.IOException | duckdb.SerializationException):
        return Invalid(
            f"the file cannot be read; {said}", code="FILE_UNREADABLE", hint="is it whole, and of that format?"
        )
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException | duckdb.ConstraintException):
        return Invalid(f"a value does not fit; {said}", code="DATA_INVALID", hint="bough tables schema NAME")
    if isinstance(error, duckdb.InternalException | duckdb.FatalException):
        return Problem(f"DuckDB failed; {said}", code="QUERY_FAILED", hint="report it, with the query")
    return invalid(said, "bough tables list; bough tables schema NAME")


def invalid(what: str, hint: str) -> Invalid:
    return Invalid(what, code="SQL_INVALID", hint=hint)


def first_line(text: str) -> str:
    """Without the drawing of the place, which spans lines."""
    return " ".join(text.partition("\n\n")[0].partition("\nLINE ")[0].split())
