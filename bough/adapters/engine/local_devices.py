"""Gives units of this machine their accelerators. What they have is in their folders, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bough.adapters.engine import devices
from bough.adapters.engine.local_records import Record
from bough.kernel.devices import Device


class Allotment:
    """Used only under the engine's lock."""

    def __init__(self, there: Callable[[], Sequence[Device]]) -> None:
        """`there`: the accelerators of this machine, looked up when the first unit asks for some."""
        self._there = there
        self._waiting: dict[str, Record] = {}  # in the order of asking

    def give(self, record: Record, records: Iterable[Record]) -> bool:
        """Whether `record` has all that it asks for. Nobody is overtaken: who asks for much would wait for ever."""
        if not record.spec.gpus or record.devices:
            return True
        self._waiting = {key: each for key, each in self._waiting.items() if not each.exit and not each.devices}
        holders = [(each.spec, each.devices) for each in records if each.devices and not each.exit]
        found = devices.place(record.spec, self._there(), holders)
        self._waiting.setdefault(record.key, record)
        if found is None or next(iter(self._waiting)) != record.key:
            record.waits = devices.waits(record.spec, holders)
            return False
        record.give(found)
        del self._waiting[record.key]
        return True

    def waiting(self) -> list[Record]:
        """Whom to start when one has ended, first come first served."""
        return [each for each in self._waiting.values() if not each.exit and not each.devices]
