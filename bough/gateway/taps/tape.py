"""The thread that compares, minimizes and writes what taps have seen. The event loop only hands over bytes; when the
thread is behind, what it is given is dropped and counted, for a caller must never wait for it."""

from __future__ import annotations

import os
import queue
import threading
import time
from pathlib import Path

import msgspec

from bough.gateway.taps import kept, pairs
from bough.gateway.taps.kept import Keep, KeptFile
from bough.gateway.taps.pairs import Answered

MOST_WAITING = 4096
MIRROR_BYTES = 64 << 20  # of one mirror's file; beyond, it only counts
FLUSH_S = 0.2
PAUSE_S = 5e-5  # after each thing: the event loop needs the interpreter too, and waits for one at most


class Seen(msgspec.Struct):
    """Both sides of a request that was mirrored."""

    mirror: str
    id: str
    service: str
    tolerance: float
    source: tuple[Answered, bytes]
    target: tuple[Answered, bytes]


class Counted(msgspec.Struct):
    mirror: str
    service: str
    seen: int
    copied: int
    left_out: int


class ToKeep(msgspec.Struct):
    place: tuple[str, str, str]  # project, environment, service
    keep: Keep
    id: str
    api: str
    meta: str
    release: int
    status: int
    seconds: float
    body: bytes
    answer: bytes


class Tape:
    """`folder` holds `mirrors/ID.jsonl` and `kept/PROJECT/ENVIRONMENT/SERVICE.jsonl`. The thread begins with the first
    thing to write."""

    def __init__(self, folder: Path, life: str) -> None:
        self.dropped = 0
        self._folder, self._life = folder, life
        self._queue: queue.SimpleQueue[Seen | Counted | ToKeep | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._files: dict[Path, KeptFile] = {}
        self._secret = b""

    def put(self, seen: Seen | Counted | ToKeep) -> None:
        if self._queue.qsize() >= MOST_WAITING:
            self.dropped += 1
            return
        self._queue.put(seen)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tape", daemon=True)
            self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(2.0)

    def _run(self) -> None:
        ended = False
        while not ended:
            taken = [self._queue.get()]
            time.sleep(FLUSH_S if taken[0] is not None else 0.0)  # so that a write has many lines
            while not self._queue.empty():
                taken.append(self._queue.get())
            ended = None in taken
            try:
                self._write([each for each in taken if each is not None])
            except OSError:  # a full disk: what was seen is not worth more than the requests
                self.dropped += len(taken)

    def _write(self, taken: list[Seen | Counted | ToKeep]) -> None:
        now, mirrored = time.time(), dict[str, list[bytes]]()
        held: dict[tuple[str, str, str], list[bytes]] = {}
        rules: dict[tuple[str, str, str], Keep] = {}
        for each in taken:
            time.sleep(PAUSE_S)
            if isinstance(each, ToKeep):
                rules[each.place] = each.keep
                if line := self._kept(each, now):
                    held.setdefault(each.place, []).append(line)
            elif isinstance(each, Seen):
                pair = pairs.paired(now, each.id, each.service, each.source, each.target, each.tolerance)
                mirrored.setdefault(each.mirror, []).append(pairs.encode(pair))
            else:
                passed = pairs.Passed(
                    life=self._life, service=each.service, seen=each.seen, copied=each.copied, left_out=each.left_out
                )
                mirrored.setdefault(each.mirror, []).append(pairs.encode(passed))
        for mirror, lines in mirrored.items():
            self._append(self._folder / "mirrors" / f"{mirror}.jsonl", lines)
        for place, lines in held.items():
            path = kept.file_of(self._folder / "kept", *place)
            self._files.setdefault(path, KeptFile(path)).write(lines, rules[place], now)

    def _kept(self, seen: ToKeep, now: float) -> bytes:
        if not self._secret:
            self._secret = kept.key(self._folder)
        return kept.made(
            seen.keep, self._secret, at=now, id=seen.id, api=seen.api, meta=seen.meta, release=seen.release,
            status=seen.status, seconds=seen.seconds, body=seen.body, answer=seen.answer,
        )  # fmt: skip

    def _append(self, path: Path, lines: list[bytes]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.fstat(descriptor).st_size > MIRROR_BYTES:
                lines = [each for each in lines if b'"passed"' in each[:20]]
            os.write(descriptor, b"".join(lines))
        finally:
            os.close(descriptor)
