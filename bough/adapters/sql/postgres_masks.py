"""Masked databases of Postgres: rows pass from one to another as they are masked, and are searched for after."""

from __future__ import annotations

import contextlib
import mmap
import secrets
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

from bough.adapters.sql.postgres_server import DATABASE, PLAIN, Programs, Server
from bough.kernel.errors import Invalid

SHORTEST, SEARCHED = 6, 200  # bytes and number of values that are searched for
BLOCK_BYTES = 1 << 20  # of a dump that is searched
_LEFT = ("--no-owner", "--no-privileges", "--no-comments", "--no-publications", "--no-subscriptions")

_LEAKS = "a value of {} stands in clear elsewhere: mask the column that repeats it, or drop it"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One database, as PostgreSQL's programs reach it: with these words, and this password."""

    programs: Programs
    words: tuple[str, ...]
    password: str = ""

    def psql(self, sql: str, *, words: Sequence[str] = ()) -> str:
        return self.programs.run("psql", *PLAIN, *self.words, *words, stdin=sql, password=self.password)

    def dump(self, section: str) -> str:
        return self.programs.run("pg_dump", f"--section={section}", *_LEFT, *self.words, password=self.password)


def side_of(programs: Programs, server: Server) -> Side:
    return Side(programs=programs, words=("-h", str(server.sockets), "-d", DATABASE))


def copy_masked(source: Side, target: Side, policy: Mapping[str, str]) -> None:
    """Tables, then rows as they are masked, then indexes and keys: nothing passes through it in clear."""
    key = secrets.token_hex(16)
    target.psql(source.dump("pre-data"))
    columns: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in columns_of(source):
        columns.setdefault(table, []).append((column, kind))
    for table, each in columns.items():
        shown, into = [], []
        for column, kind in each:
            how = policy.get(f"{table}.{column}", "")
            if how == "drop":
                target.psql(f"ALTER TABLE {quoted(table)} DROP COLUMN {quoted(column)}")
                continue
            into.append(quoted(column))
            shown.append(_masked(quoted(column), kind, how, key))
        out = f"COPY (SELECT {', '.join(shown)} FROM {quoted(table)}) TO STDOUT"  # noqa: S608 - quoted
        _pipe(source, out, target, f"COPY {quoted(table)} ({', '.join(into)}) FROM STDIN")
    with contextlib.suppress(Invalid):  # what hangs on a dropped column stays away with it
        target.psql(source.dump("post-data"), words=["-v", "ON_ERROR_STOP=0"])
    for line in source.psql("SELECT format('%I.%I', schemaname, sequencename), coalesce(last_value, 1), "
                            "last_value IS NOT NULL FROM pg_sequences").splitlines():  # fmt: skip
        name, value, used = line.split("\t")
        target.psql(f"SELECT setval({literal(name)}, {int(value)}, {'true' if used == 't' else 'false'})")


def _pipe(source: Side, out: str, target: Side, into: str) -> None:
    """What one statement answers is what another reads; tables may be larger than memory."""
    second = target.programs.command("psql", *PLAIN, *target.words, "-c", into)
    with _Output(source, "psql", *PLAIN, *source.words, "-c", out) as reading:
        writing = subprocess.run(  # noqa: S603 - our own words
            second, stdin=reading.stream, capture_output=True, cwd="/", check=False,
            env=target.programs.environment(target.password),
        )  # fmt: skip
    if reading.failed or writing.returncode != 0:  # only reading: the other has taken what came for all
        raise _says(writing.stderr + reading.complaint)


class _Output:
    """What a program of PostgreSQL's writes, as it comes; how it ended is known when the block has."""

    def __init__(self, side: Side, *words: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        self._process = subprocess.Popen(  # noqa: S603 - our own words
            side.programs.command(*words), stdout=subprocess.PIPE, stderr=self._errors, cwd="/",
            env=side.programs.environment(side.password),
        )  # fmt: skip
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        self.stream: IO[bytes] = self._process.stdout
        self.failed, self.complaint = False, b""

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        """It ends early, as failed, when nobody reads on."""
        self.stream.close()
        self.failed = self._process.wait() != 0
        self._errors.seek(0)
        self.complaint = self._errors.read()
        self._errors.close()


def _says(complaint: bytes) -> Invalid:
    said = complaint.decode(errors="replace").strip()
    return Invalid(f"PostgreSQL says: {said}", code="POSTGRES_SAYS", hint="bough db check NAME")


def _masked(column: str, kind: str, how: str, key: str) -> str:
    digest = f"encode(sha256(convert_to('{key}' || {column}::text, 'UTF8')), 'hex')"
    numbers = ("integer", "bigint", "smallint", "numeric", "real", "double precision")
    if how == "noise" and kind not in numbers:
        raise Invalid(
            f"{column} is {kind}; noise is for numbers", code="MASK_INVALID", hint="token, hash, null or drop"
        )
    return {
        "": column,
        "null": "NULL",
        "hash": f"CASE WHEN {column} IS NULL THEN NULL ELSE {digest} END",
        "token": f"CASE WHEN {column} IS NULL THEN NULL ELSE 'tok_' || left({digest}, 16) END",
        "noise": f"({column} * (0.9 + 0.2 * random()))::{kind}",
    }[how]


def columns_of(server: Side | Server) -> list[tuple[str, str, str]]:
    """Table, column and type of what is stored, of the schema `public`."""
    rows = server.psql(
        "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c"
        " JOIN information_schema.tables t USING (table_schema, table_name)"
        " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        " AND c.is_generated = 'NEVER' ORDER BY 1, c.ordinal_position"
    )
    return [(table, column, kind) for table, column, kind in (line.split("\t") for line in rows.splitlines())]


def leak_in_files(source: Side, target: Server, policy: Mapping[str, str]) -> str:
    """What is said of a clear value that lies in the bytes of `target`; empty when none does."""
    wanted = _wanted(source, policy)
    for path in target.data.rglob("*"):
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for name, value in wanted:
                    if content.find(value) >= 0:
                        return _LEAKS.format(name)
    return ""


def leak_in_dump(source: Side, target: Side, policy: Mapping[str, str]) -> str:
    """The same of a database whose files are elsewhere: in all that it says of itself, schema and rows. It was written
    anew, so its files hold nothing beyond that."""
    wanted = [
        (name, form)
        for name, value in _wanted(source, policy)
        for form in {value, _as_copied(value), value.hex().encode()}
    ]
    with _Output(target, "pg_dump", *target.words) as dumping:
        found = _found(dumping.stream, wanted)
    if dumping.failed and not found:  # else it was not read to its end
        raise _says(dumping.complaint)
    return _LEAKS.format(found) if found else ""


def _found(stream: IO[bytes], wanted: Sequence[tuple[str, bytes]]) -> str:
    """The name of the first one whose bytes are in the stream; values may lie over the edge of two blocks."""
    longest, last = max((len(each) for _, each in wanted), default=0), b""
    while block := stream.read(BLOCK_BYTES):
        content = last + block
        for name, value in wanted:
            if value in content:
                return name
        last = content[len(content) - longest :]
    return ""


def _wanted(source: Side, policy: Mapping[str, str]) -> list[tuple[str, bytes]]:
    wanted: list[tuple[str, bytes]] = []
    for name in policy:
        table, _, column = name.partition(".")
        query = f"SELECT DISTINCT {quoted(column)}::text FROM {quoted(table)} LIMIT {SEARCHED}"  # noqa: S608 - quoted
        values = [each.encode() for each in source.psql(query).splitlines()]
        wanted += [(name, each) for each in values if len(each) >= SHORTEST and not each.isdigit()]
    return wanted


def _as_copied(value: bytes) -> bytes:
    """As COPY writes it."""
    return value.replace(b"\\", b"\\\\").replace(b"\t", b"\\t")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
