"""What was answered: one record per request, from which metrics and the access log are made.

Answering a request only appends a tuple. `settle` turns the records into counters and JSON lines, a few hundred at a
time so that it never holds up the loop; a thread writes the lines, so a slow disk delays nobody. A full disk costs log
lines (counted in the metric `bough_access_log_dropped`), never requests.
"""

from __future__ import annotations

import queue
import threading
import time
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING

from bough.gateway.telemetry.metrics import LATENCY_S

if TYPE_CHECKING:
    from bough.gateway.routing.plan import Plan
    from bough.gateway.telemetry.otlp import Exporter

# Of a valid traceparent: trace id, the caller's span id, whether the trace is sampled.
Trace = tuple[bytes, bytes, bool]
# plan, id, status, arrived, answered (monotonic), body bytes in, out, peer, trace, whether it was turned away
Record = tuple["Plan", bytes, int, float, float, int, int, bytes, Trace | None, bool]

SETTLE_AT = 256  # records
HAND_OVER_AT = 4096  # lines, under 1 MB
SEGMENT_BYTES = 32 << 20
SEGMENTS = 4


class Ledger:
    def __init__(self, log: LogFile | None, exporter: Exporter | None = None) -> None:
        self.exporter = exporter
        self.records: list[Record] = []
        self.append = self.records.append
        self.log = log
        self._lines: list[bytes] = []
        self._wall = time.time() - time.monotonic()

    def settle(self) -> None:
        """Counts the records; their lines wait for `flush`."""
        wall, lines = self._wall, self._lines
        records = self.records
        log = self.log is not None
        for plan, rid, status, arrived, answered, size, sent, peer, trace, refused in records:
            stats = plan.stats
            spent = answered - arrived
            if refused:
                stats.refuse(spent)
            else:
                stats.buckets[bisect_left(LATENCY_S, spent)] += 1
                stats.seconds += spent
            stats.bytes_in += size
            stats.bytes_out += sent
            stats.last = answered + wall
            try:
                stats.statuses[status] += 1
            except KeyError:
                stats.statuses[status] = 1
            if log:
                seen = b"" if trace is None else b',"trace":"%b"' % trace[0]
                at, ms = answered + wall, spent * 1e3
                lines.append(
                    b'{"time":%.3f,"id":"%b",%b,"status":%d,"ms":%.3f,"in":%d,"out":%d,"peer":"%b"%b}\n'
                    % (at, rid, plan.log, status, ms, size, sent, peer, seen)
                )
        if self.exporter is not None:
            self.exporter.offer(records, wall)
        records.clear()
        if len(lines) >= HAND_OVER_AT:
            self._hand_over()

    def flush(self) -> bool:
        """Hands the lines to the writing thread; whether there was anything. Called a few times a second."""
        found = bool(self.records or self._lines)
        self.settle()
        self._wall = time.time() - time.monotonic()  # the wall clock may have been set
        self._hand_over()
        return found

    def close(self) -> None:
        self.flush()
        if self.exporter is not None:
            self.exporter.close()
        if self.log is not None:
            self.log.close()

    def _hand_over(self) -> None:
        if self._lines and self.log is not None:
            self.log.write(self._lines)
            self._lines = []


class LogFile:
    """Lines to `path`, rotated by size: `access.log`, `access.log.1` (older) …"""

    def __init__(self, path: Path, *, segment_bytes: int = SEGMENT_BYTES, segments: int = SEGMENTS) -> None:
        self.path = path
        self.dropped = 0
        self._segment_bytes = segment_bytes
        self._segments = segments
        self._queue: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, lines: list[bytes]) -> None:
        if self._queue.qsize() > 64:  # the disk has not taken anything for many seconds
            self.dropped += len(lines)
        else:
            self._queue.put(lines)

    def close(self) -> None:
        """Writes what is left; waits at most two seconds for the disk."""
        self._queue.put(None)
        self._thread.join(2.0)

    def _run(self) -> None:
        while (lines := self._queue.get()) is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("ab", buffering=0) as file:
                    file.write(b"".join(lines))
                    size = file.tell()
                if size >= self._segment_bytes:
                    self._rotate()
            except OSError:
                self.dropped += len(lines)

    def _rotate(self) -> None:
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self._segments))]
        for older, newer in zip(reversed(names), list(reversed(names))[1:], strict=False):
            if newer.exists():
                newer.replace(older)
