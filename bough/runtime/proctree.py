"""What /proc tells about a process and everything below it: who they are and what they used."""

# ruff: noqa: PTH208, UP031 - pathlib and contextlib would double the shim's start-up time and memory

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bough.runtime.gpumeter import GpuMeter

_TICKS = os.sysconf("SC_CLK_TCK")

# Positions in /proc/PID/stat, counted after the command's closing parenthesis.
STATE, PPID, SESSION, UTIME, CSTIME, STARTTIME = 0, 1, 3, 11, 14, 19


def read_stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from `state` on; empty when there is no such process."""
    try:
        fd = os.open("/proc/%d/stat" % pid, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return os.read(fd, 4096).rpartition(b")")[2].split()
    except OSError:
        return []  # it ended between the two calls
    finally:
        os.close(fd)


def starttime(pid: int) -> int:
    """When `pid` began, in ticks since boot; 0 when it is gone. A zombie is gone."""
    fields = read_stat(pid)
    return int(fields[STARTTIME]) if fields and fields[STATE] not in (b"Z", b"X") else 0


def boot() -> str:
    """Which start of the machine this is."""
    fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64).decode().strip()
    finally:
        os.close(fd)


def descendants(root: int) -> list[int]:
    """Every process below `root`, parents first. A process that forks meanwhile may be missed: call again."""
    found: list[int] = []
    queue = [root]
    while queue:
        below = _children(queue.pop())
        found += below
        queue += below
    return found


def _children(pid: int) -> list[int]:
    below: list[int] = []
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            fd = os.open("/proc/%d/task/%s/children" % (pid, task), os.O_RDONLY | os.O_CLOEXEC)
            try:
                below += [int(child) for child in os.read(fd, 65536).split()]
            finally:
                os.close(fd)
    except OSError:
        pass  # gone meanwhile
    return below


class Meter:
    """Cumulative use of everything below this process. Figures never go down, also when processes come and go."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.memory_bytes = 0
        self.memory_peak_bytes = 0
        self.read_bytes = 0  # from disks
        self.all_read_bytes = 0  # by calls, from memory as well; what is mapped counts once it is fetched
        self.written_bytes = 0
        self.processes = 0
        self.gpus: GpuMeter | None = None
        self._io_gone = (0, 0, 0)

    def ended(self, pid: int) -> None:
        """A child of ours has ended and is about to be waited for: what it did is still known, and with it what those
        did that it waited for."""
        self._io_gone = tuple(map(sum, zip(self._io_gone, _io_bytes(pid))))  # type: ignore[assignment]

    def sample(self, *, memory: bool) -> None:
        """`memory` also when no CPU was used since the last sample; it is the only costly part (about 1 ms for a
        process of 100 MB) and idle processes do not grow."""
        pids = descendants(os.getpid())
        self.processes = len(pids)
        if self.gpus:
            self.gpus.sample(pids)
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = reaped.ru_utime + reaped.ru_stime
        for pid in pids:
            fields = read_stat(pid)
            if fields:
                cpu += sum(int(ticks) for ticks in fields[UTIME : CSTIME + 1]) / _TICKS
        moved = cpu > self.cpu_s
        self.cpu_s = max(self.cpu_s, cpu)
        if moved or memory or not self.memory_bytes:
            self._sample_io(pids)
            self.memory_bytes = sum(_proportional_bytes(pid) for pid in pids)
            self.memory_peak_bytes = max(self.memory_peak_bytes, self.memory_bytes)

    def as_json(self, dropped_log_bytes: int) -> str:
        return (
            '{"cpu_s":%.3f,"gpu_s":%.3f,"memory_bytes":%d,"memory_peak_bytes":%d,"read_bytes":%d,"all_read_bytes":%d,'
            '"written_bytes":%d,"dropped_log_bytes":%d}'
            % (
                self.cpu_s, self.gpus.used_s if self.gpus else 0.0, self.memory_bytes, self.memory_peak_bytes,
                self.read_bytes, self.all_read_bytes, self.written_bytes, dropped_log_bytes,
            )
        )  # fmt: skip

    def _sample_io(self, pids: list[int]) -> None:
        read, all_read, written = (sum(column) for column in zip(self._io_gone, *map(_io_bytes, pids)))
        self.read_bytes = max(self.read_bytes, read)
        self.all_read_bytes = max(self.all_read_bytes, all_read)
        self.written_bytes = max(self.written_bytes, written)


def _io_bytes(pid: int) -> tuple[int, int, int]:
    fields = _read_table("/proc/%d/io" % pid)
    return fields.get(b"read_bytes:", 0), fields.get(b"rchar:", 0), fields.get(b"write_bytes:", 0)


def _proportional_bytes(pid: int) -> int:
    """Memory of a process, pages shared with others counted by share: forked replicas share most of theirs."""
    return _read_table("/proc/%d/smaps_rollup" % pid).get(b"Pss:", 0) * 1024


def _read_table(path: str) -> dict[bytes, int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        lines = os.read(fd, 8192).splitlines()
    except OSError:
        return {}
    finally:
        os.close(fd)
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) >= 2 and pair[1].isdigit()}
