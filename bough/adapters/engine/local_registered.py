"""What sleeping units are woken as: `units/<unit>/registered.json`, read once and kept in memory."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bough.adapters.engine import ASLEEP, Attempt
from bough.adapters.engine import local_files as files
from bough.adapters.engine.local_records import Record, link_of
from bough.kernel.files import as_exhausted
from bough.runtime.spec import UnitSpec

FILE_NAME = "registered.json"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """`at`: the latest attempt when `spec` was given; one begun later by `apply` counts more. `asleep`: attempts up to
    this number have gone to sleep, and their end is no failure; -1: none."""

    spec: UnitSpec
    at: int
    asleep: int


class Registered:
    """Changed only under the engine's lock. Every change is one file replaced, so a crash leaves the one or the other
    state; the signal that follows from it is sent again by whoever asked."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._by_unit: dict[str, Registration] = {}

    def adopt(self) -> None:
        for path in (self._home / "units").glob(f"*/{FILE_NAME}"):
            found = files.read_whole(path, Registration)
            if found is not None and found.spec.unit == path.parent.name:
                self._by_unit[found.spec.unit] = found
            else:
                path.unlink()  # torn by a power loss: the server registers again

    def units(self) -> list[str]:
        return list(self._by_unit)

    def register(self, spec: UnitSpec, latest: Record | None) -> bool:
        """Says whether anything has changed."""
        before = self._by_unit.get(spec.unit)
        number = latest.spec.attempt if latest else 0
        asleep = number if latest is None or latest.exit else before.asleep if before else -1
        spec = msgspec.structs.replace(spec, attempt=number + 1)
        return self._keep(Registration(spec=spec, at=number, asleep=asleep))

    def put_to_sleep(self, record: Record) -> bool:
        attempt = record.spec.attempt
        before = self._by_unit.get(record.spec.unit)
        given = before is not None and before.at >= attempt
        spec, at = (before.spec, before.at) if before and given else (record.spec, attempt)
        return self._keep(Registration(spec=spec, at=at, asleep=attempt))

    def drop(self, unit: str) -> None:
        if self._by_unit.pop(unit, None):
            (self._home / "units" / unit / FILE_NAME).unlink(missing_ok=True)

    def is_asleep(self, unit: str, latest: Record | None) -> bool:
        """Whether nothing of the unit is meant to run, or to go on running."""
        found = self._by_unit.get(unit)
        return found is not None and found.asleep >= (latest.spec.attempt if latest else 0)

    def next_spec(self, unit: str, latest: Record | None) -> UnitSpec:
        """What a wake starts."""
        found = self._by_unit.get(unit)
        if latest is None or (found is not None and found.at >= latest.spec.attempt):
            assert found is not None  # noqa: S101 - a unit is known by an attempt or by its registration
            return msgspec.structs.replace(found.spec, attempt=latest.spec.attempt + 1 if latest else 1)
        return msgspec.structs.replace(latest.spec, attempt=latest.spec.attempt + 1)

    def attempt(self, unit: str, latest: Record | None, node: str) -> Attempt:
        """A sleeping unit, as the engine shows it."""
        spec = self.next_spec(unit, latest)
        return Attempt(
            unit=unit, attempt=spec.attempt - 1, state=ASLEEP, kind=spec.kind, labels=spec.labels, node=node,
            address=f"unix:{link_of(self._home, unit)}" if spec.model else "",
            signature=latest.signature if latest else {},
        )  # fmt: skip

    def _keep(self, made: Registration) -> bool:
        unit = made.spec.unit
        if self._by_unit.get(unit) == made:
            return False
        folder = self._home / "units" / unit
        with as_exhausted(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_whole(folder / FILE_NAME, msgspec.json.encode(made))
        self._by_unit[unit] = made
        return True
