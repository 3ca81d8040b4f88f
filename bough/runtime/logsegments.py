"""A unit's output as files `log.<offset>`: bounded in size, and every byte keeps its offset for ever.

Writing never fails and never blocks the unit for long: when the disk is full the bytes are dropped and counted, and
the next byte that fits starts a segment at its true offset, so a reader sees the gap and its exact length.
"""

# ruff: noqa: PTH108, SIM105, UP031 - pathlib and contextlib would double the shim's start-up time and memory

from __future__ import annotations

import os

SEGMENTS = 8  # kept per attempt; the oldest goes first
_SMALLEST_BYTES = 4096


def segment_name(offset: int) -> str:
    return "log.%020d" % offset


class SegmentWriter:
    def __init__(self, folder: str, keep_bytes: int) -> None:
        self.offset = 0
        self.dropped_bytes = 0
        self._folder = folder
        self._size = max(keep_bytes // SEGMENTS, _SMALLEST_BYTES)
        self._starts: list[int] = []
        self._fd = -1

    def write(self, data: bytes) -> None:
        if self._fd >= 0 and self.offset - self._starts[-1] >= self._size:
            self.close()
        written = self._append(data)
        self.offset += len(data)
        self.dropped_bytes += len(data) - written
        if written < len(data):
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, data: bytes) -> int:
        done = 0
        try:
            if self._fd < 0:
                self._open()
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            if self._starts and self._fd >= 0 and self.offset + done == self._starts[-1]:
                self._discard(self._starts.pop())  # an empty segment would stand at an offset that is then passed
        return done

    def _open(self) -> None:
        path = self._folder + "/" + segment_name(self.offset)
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._starts.append(self.offset)
        while len(self._starts) > SEGMENTS:
            self._discard(self._starts.pop(0))

    def _discard(self, start: int) -> None:
        try:
            os.unlink(self._folder + "/" + segment_name(start))
        except OSError:
            pass  # gone already, or the folder is
