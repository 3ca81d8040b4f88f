"""Reading output so that a reader who comes back misses nothing and reads nothing twice.

A *cursor* holds, for every attempt that was looked at, the offset of the first byte that has not been given out. It
travels with each line as text (`UNIT/ATTEMPT:OFFSET,…`), so the server remembers nobody, and restarts, new replicas and
rotation leave it valid.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bough.adapters.engine import Attempt, Engine
from bough.kernel.errors import Invalid, NotFound

LOGS_KEPT = 3  # attempts of one unit whose output an engine keeps


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """`offset` is where the line begins in its attempt's output; `cursor` asks for what comes after it."""

    service: str
    unit: str
    attempt: int
    offset: int
    text: str
    cursor: str


class Reader:
    """Reads on from `cursor`; without one from the last `lines` lines of each unit (0: none)."""

    def __init__(self, engine: Engine, cursor: str, lines: int) -> None:
        self._engine = engine
        self._tail = None if cursor else lines
        self._offsets = parse(cursor)
        self._done: set[str] = set()  # read to the end, and nothing can follow

    def read(self, attempts: list[tuple[Attempt, str]], *, follow: bool) -> Iterator[LogLine]:
        """What is new of these attempts, each with its service, and of the ones before them. Following, half a line
        waits for its end, unless its attempt has exited."""
        found = [(service, *each) for attempt, service in attempts for each in self._unit(attempt, follow)]
        known = {f"{unit}/{number}" for _, unit, number, _ in found}
        self._offsets = {key: offset for key, offset in self._offsets.items() if key in known}  # others are forgotten
        self._tail = None
        for service, unit, number, lines in found:
            for offset, line in lines:
                self._offsets[f"{unit}/{number}"] = offset + len(line)
                yield LogLine(
                    service=service, unit=unit, attempt=number, offset=offset, text=text_of(line), cursor=self.cursor()
                )

    def cursor(self) -> str:
        return ",".join(f"{key}:{offset}" for key, offset in self._offsets.items())

    def _unit(self, attempt: Attempt, follow: bool) -> list[tuple[str, int, list[tuple[int, bytes]]]]:
        found, left = [], self._tail
        for number in range(attempt.attempt, max(0, attempt.attempt - LOGS_KEPT), -1):
            ended = number < attempt.attempt or attempt.exit is not None
            lines = self._new(attempt.unit, number, left, ended=ended, whole=ended or not follow)
            left = None if left is None else left - len(lines)
            found.append((attempt.unit, number, lines))
        return found[::-1]

    def _new(self, unit: str, number: int, tail: int | None, *, ended: bool, whole: bool) -> list[tuple[int, bytes]]:
        key = f"{unit}/{number}"
        if key in self._done:
            return []
        try:
            data, start = read(self._engine, unit, number, self._offsets.get(key, 0))
        except NotFound:  # forgotten since the snapshot
            return []
        if ended:
            self._done.add(key)
        if not whole:
            data = data[: data.rfind(b"\n") + 1]
        lines = split(data, start)
        if tail is not None:
            lines = lines[max(0, len(lines) - tail) :]
        self._offsets[key] = lines[0][0] if lines else start + len(data)
        return lines


def read(engine: Engine, unit: str, attempt: int, offset: int) -> tuple[bytes, int]:
    """All output from `offset` on, and where it begins."""
    chunks = list(engine.logs(unit, attempt, offset, follow=False))
    return b"".join(chunk.data for chunk in chunks), chunks[0].offset if chunks else offset


def split(data: bytes, start: int) -> list[tuple[int, bytes]]:
    """Lines with their ends, each with its offset."""
    found = []
    for line in data.splitlines(keepends=True):
        found.append((start, line))
        start += len(line)
    return found


def text_of(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r\n")


def parse(cursor: str) -> dict[str, int]:
    """Raises `Invalid` for what no line has carried."""
    offsets = {}
    for part in filter(None, cursor.split(",")):
        key, _, offset = part.rpartition(":")
        if not key or not offset.isascii() or not offset.isdigit() or len(offset) > 18:
            raise Invalid(f"{part!r} is no part of a cursor", code="CURSOR_INVALID", hint="take it from a line of logs")
        offsets[key] = int(offset)
    return offsets
