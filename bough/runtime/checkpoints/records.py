"""The contents of a dataset's files for a program that trains, read ahead by threads while it works.

    records = checkpoint.Records(f"{os.environ['BOUGH_DATA']}/images")
    data = checkpoint.Samples(len(records), batch_size=64, seed=0)
    for batch in data.through(records.read): ...          # lists of bytes

`Samples` deals the numbers of records out among processes and keeps the place, so each process reads what is its own
and nothing twice. How much was read, and for how long the program had to wait for it, goes into its progress.
"""

from __future__ import annotations

import itertools
import os
import time
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Union

_PIECE = 1 << 20  # bytes at once while lines are looked for
_THREADS = 4
_AHEAD = 8  # batches


class Reading:
    """What this process has read through `Records`, all of them together."""

    def __init__(self) -> None:
        self.bytes = 0
        self.waited_s = 0.0  # in which the program stood still for it
        self._began = 0.0

    @property
    def seconds(self) -> float:
        """Since the first of it was asked for."""
        return time.monotonic() - self._began if self._began else 0.0

    def begin(self) -> None:
        self._began = self._began or time.monotonic()

    def figures(self) -> dict[str, Any]:
        """As the progress has them."""
        return {"read_bytes": self.bytes, "read_s": self.seconds, "waited_s": self.waited_s}


READING = Reading()


class Records:
    """Everything below a folder, or in a file, by name: each file is a record; with `lines` each line is one (without
    its end), with `size` so many bytes are. Numbers stay what they are as long as the files do."""

    def __init__(
        self, place: Union[str, Path], *, lines: bool = False, size: int = 0, threads: int = _THREADS,
        ahead: int = _AHEAD,
    ) -> None:  # fmt: skip
        """`ahead`: batches that are read before they are wanted, by so many `threads`. Lines are found by reading all
        of it once."""
        if (lines and size) or size < 0 or threads < 1 or ahead < 1:
            raise ValueError(f"lines={lines}, size={size}, threads={threads}, ahead={ahead}")
        root = Path(place)
        self.paths = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        if not self.paths:
            raise FileNotFoundError(f"there is no file in {place}")
        self._threads, self._ahead = threads, ahead
        self._file, self._start, self._size = array("L"), array("Q"), array("Q")
        for number, path in enumerate(self.paths):
            for start, length in _lines(path) if lines else _pieces(path, size):
                self._file.append(number)
                self._start.append(start)
                self._size.append(length)

    def __len__(self) -> int:
        return len(self._file)

    @property
    def total_bytes(self) -> int:
        """Of all records together."""
        return sum(self._size)

    def __getitem__(self, number: int) -> bytes:
        return self._batch([number])[0]

    def __iter__(self) -> Iterator[bytes]:
        return (self[number] for number in range(len(self)))

    def read(self, batches: Iterable[list[int]]) -> Iterator[list[bytes]]:
        """The records of each batch, in order."""
        READING.begin()
        wanted = iter(batches)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="records") as pool:
            under_way: deque[Future[list[bytes]]] = deque()
            try:
                while True:
                    for batch in itertools.islice(wanted, self._ahead + 1 - len(under_way)):
                        under_way.append(pool.submit(self._batch, batch))
                    if not under_way:
                        return
                    asked = time.monotonic()
                    found = under_way.popleft().result()
                    READING.waited_s += time.monotonic() - asked
                    READING.bytes += sum(map(len, found))
                    yield found
            finally:
                for each in under_way:
                    each.cancel()

    def _batch(self, numbers: list[int]) -> list[bytes]:
        """Each file is opened once."""
        found: dict[int, bytes] = {}
        for file, group in itertools.groupby(sorted(numbers), key=self._file.__getitem__):
            descriptor = os.open(self.paths[file], os.O_RDONLY | os.O_CLOEXEC)
            try:
                found.update((each, self._exactly(descriptor, each)) for each in group)
            finally:
                os.close(descriptor)
        return [found[number] for number in numbers]

    def _exactly(self, descriptor: int, number: int) -> bytes:
        size, content = self._size[number], b""
        while len(content) < size:
            piece = os.pread(descriptor, size - len(content), self._start[number] + len(content))
            if not piece:
                raise EOFError(f"{self.paths[self._file[number]]} has become shorter since it was opened")
            content = content + piece if content else piece
        return content


def _pieces(path: Path, size: int) -> Iterator[tuple[int, int]]:
    whole = path.stat().st_size
    if not size:
        yield 0, whole
        return
    if whole % size:
        raise ValueError(f"{path} has {whole} bytes, which are not whole records of {size}")
    for start in range(0, whole, size):
        yield start, size


def _lines(path: Path) -> Iterator[tuple[int, int]]:
    with path.open("rb", buffering=_PIECE) as file:
        start = 0
        for line in file:
            yield start, len(line.rstrip(b"\r\n"))
            start += len(line)
