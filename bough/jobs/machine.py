"""What fits on this machine at once. Pure: who runs is given, what is left follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from bough.jobs.models import JobRun
from bough.kernel.devices import Device, share_of
from bough.kernel.jobs import accelerator, bounds
from bough.kernel.workloads import Resources

# A job that does not say what it takes: four of them share a core, as most of them wait for something most of the time.
UNSAID_CPUS = 0.25
EXACT = 1e-9  # three thirds are one


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """`cpus` may be more than there are: they are planned with, and enforced by priorities, not by a wall."""

    cpus: float
    memory_mb: int
    devices: tuple[Device, ...] = ()


Here = Callable[[], Machine]
"""This machine, with the devices that it has now."""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run can go: processes, and the devices of each in turn."""

    size: int
    devices: tuple[str, ...] = ()


class Room:
    """What is left of a machine."""

    def __init__(self, machine: Machine, running: Iterable[JobRun], lent: Mapping[str, float] | None = None) -> None:
        """`lent`: accelerators that services have, and how much of each."""
        self._machine = machine
        self._cpus, self._memory_mb = machine.cpus, machine.memory_mb
        lent = lent or {}
        self._free = {each.id: 1.0 - lent.get(each.id, 0.0) for each in machine.devices}  # the share that nobody has
        self._holders = 0
        for run in running:
            self.take(run, run.size, run.devices)

    def take(self, run: JobRun, size: int, devices: Sequence[str]) -> None:
        self._change(run, size, devices, 1)

    def put_back(self, run: JobRun, size: int, devices: Sequence[str]) -> None:
        """Undoes a `take`."""
        self._change(run, size, devices, -1)

    def fit(self, run: JobRun, *, simulated: bool = False, least: bool = False) -> Fit | None:
        """As many processes as fit, within what the run allows, or its `least`; None: it has to wait. `simulated`: its
        accelerators are those of a pool, and none of this machine."""
        size = bounds(run.manifest.settings.processes)
        low, high = size.min, run.next_size or run.wanted_size or size.max
        for number in range(low if least else max(low, min(high, size.max)), low - 1, -1):
            if (found := self._fit(run.manifest.settings.resources, number, simulated)) is not None:
                return found
        return None

    def could_grow(self, run: JobRun) -> int:
        """How many processes it could have if it gave back its own."""
        need, size = run.manifest.settings.resources, bounds(run.manifest.settings.processes)
        extra = size.max - run.size
        while extra > 0:
            enough_devices = self._devices(need, extra, run.devices) is not None
            if (
                cpus_of(need) * extra <= self._cpus + 1e-9
                and need.memory_mb * extra <= self._memory_mb
                and enough_devices
            ):
                return run.size + extra
            extra -= 1
        return run.size

    def lacks(self, run: JobRun, *, simulated: bool = False) -> str:
        """Why it does not fit, in words."""
        need, least = run.manifest.settings.resources, bounds(run.manifest.settings.processes).min
        if self.never(run, simulated=simulated):
            return (
                f"this machine does not have {said(need, least)}; it waits until there is such a machine or pool:"
                " bough doctor, bough capacity pools"
            )
        return f"waits for {said(need, least)} of this machine"

    def never(self, run: JobRun, *, simulated: bool = False) -> bool:
        """Whether the machine would be too small if nobody else ran on it."""
        return Room(self._machine, ()).fit(run, simulated=simulated, least=True) is None

    def _change(self, run: JobRun, size: int, devices: Sequence[str], sign: int) -> None:
        need = run.manifest.settings.resources
        self._cpus -= sign * cpus_of(need) * size
        self._memory_mb -= sign * need.memory_mb * size
        for each in devices:
            self._free[each] = self._free.get(each, 0.0) - sign * share_of(need.gpus)
        self._holders += sign

    def _fit(self, need: Resources, number: int, simulated: bool) -> Fit | None:
        cpus, memory = cpus_of(need) * number, need.memory_mb * number
        # A job that wants more than there is runs alone rather than never: the machine is slower, not wrong.
        if cpus > self._cpus + 1e-9 and not (self._holders == 0 and cpus_of(need) <= self._machine.cpus):
            return None
        if memory > self._memory_mb:
            return None
        if simulated:
            return Fit(size=number)
        devices = self._devices(need, number)
        return None if devices is None else Fit(size=number, devices=devices)

    def _devices(self, need: Resources, number: int, besides: Sequence[str] = ()) -> tuple[str, ...] | None:
        """The first kind of the list of which enough are free."""
        for wanted in map(accelerator, need.accelerators):
            free = self._with_room(share_of(need.gpus), wanted.kind, besides)
            if len(free) >= wanted.count * number:
                return tuple(free[: wanted.count * number])
        if need.accelerators:
            return None
        free = self._with_room(share_of(need.gpus), "", besides)
        count = math.ceil(need.gpus) * number
        return tuple(free[:count]) if len(free) >= count else None

    def _with_room(self, share: float, kind: str, besides: Sequence[str]) -> list[str]:
        """Devices that bear so much more, the fullest first, so that whole ones stay whole. Each is named once: two
        processes of one run cannot meet on one device (NCCL refuses it)."""
        free = [each.id for each in self._machine.devices if kind in ("", each.kind) and each.id not in besides]
        return sorted((id for id in free if self._free[id] >= share - EXACT), key=lambda id: self._free[id])


def part_held(machine: Machine, run: JobRun) -> float:
    """The part of a machine that a run takes which has a place there."""
    return _part(machine, run.manifest.settings.resources, run.size, len(run.devices))


def part_asked(machine: Machine, run: JobRun) -> float:
    """The part of it that a run takes with its least, once it has a place."""
    need, number = run.manifest.settings.resources, bounds(run.manifest.settings.processes).min
    each = accelerator(need.accelerators[0]).count if need.accelerators else math.ceil(need.gpus)
    return _part(machine, need, number, each * number)


def _part(machine: Machine, need: Resources, number: int, devices: int) -> float:
    """Of what it takes most of: the dominant share (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011). What wants
    more than there is has all of it."""
    taken = (
        (cpus_of(need) * number, machine.cpus),
        (need.memory_mb * number, machine.memory_mb),
        (share_of(need.gpus) * devices, len(machine.devices)),
    )
    return min(max(part / whole for part, whole in taken if whole), 1.0)


def cpus_of(need: Resources) -> float:
    return need.cpus or UNSAID_CPUS


def said(need: Resources, number: int) -> str:
    cpus = cpus_of(need) * number
    cores = f"{cpus:g} cpu{'s' * (cpus != 1)}"
    parts = [cores] if need.cpus else []
    parts += [f"{need.memory_mb * number} MB of memory"] if need.memory_mb else []
    if need.accelerators:
        parts.append(" or ".join(need.accelerators) + (f" for each of {number} processes" if number > 1 else ""))
    elif need.gpus:
        parts.append(f"{need.gpus * number:g} GPU{'s' * (need.gpus * number > 1)}")
    return ", ".join(parts) or cores
