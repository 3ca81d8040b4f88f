"""When a zone had something: read from a file, or made up. Hours from the beginning; what is over begins again.

A file is CSV, gzip'ed if its name ends in .gz, with a line for a zone: `trace` is its name, `gap_s` the seconds between
two samples, `rle` the samples as VALUExCOUNT, separated by spaces; a value above 0 means available.
"""

from __future__ import annotations

import bisect
import csv
import gzip
import io
import random
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bough.kernel.errors import Invalid

MADE_UP_H = 24.0 * 60
# Made-up spells: a zone's typical spell, drawn for each zone, and how unequal spells are: with this shape of Weibull's
# distribution, a spell of minutes ends some ten times sooner than one of half a day.
TYPICAL_H = {True: (1.0, 6.0), False: (0.2, 2.0)}
SHAPE = 0.55
SHORTEST_H = 0.05
INSTANT_H = 1e-9  # past a change: rounding must not lead back before it


class Availability(NamedTuple):
    """`changes`: hours at which it changes, from `first` on; the last is the end."""

    first: bool
    changes: tuple[float, ...]

    @property
    def length(self) -> float:
        return self.changes[-1]

    def up_at(self, hour: float) -> bool:
        return self.first ^ (bisect.bisect_right(self.changes, hour % self.length) % 2 == 1)

    def change_after(self, hour: float) -> float:
        """The hour of the next change (of state, or the beginning again)."""
        inside = hour % self.length
        return hour - inside + self.changes[bisect.bisect_right(self.changes, inside)]

    def lost_after(self, hour: float) -> float:
        """The hour, from `hour` on, at which it is away; infinite for a zone that never is."""
        if len(self.changes) == 1:
            return float("inf") if self.first else hour
        while self.up_at(hour):
            hour = self.change_after(hour) + INSTANT_H
        return hour


def of_spells(spells: Iterable[tuple[bool, float]]) -> Availability:
    """From (available, hours) in order."""
    first: bool | None = None
    up, hour, changes = False, 0.0, []
    for each, hours in spells:
        if first is None:
            first = up = each
        if each != up:
            changes.append(hour)
            up = each
        hour += hours
    return Availability(bool(first), (*changes, hour))


def made_up(zone: str, seed: int) -> Availability:
    """The same for the same zone and seed."""
    chance = random.Random(zlib.crc32(zone.encode()) ^ seed)  # noqa: S311 - nothing secret
    typical = {up: low * (high / low) ** chance.random() for up, (low, high) in TYPICAL_H.items()}
    spells, hour, up = [], 0.0, chance.random() < typical[True] / (typical[True] + typical[False])
    while hour < MADE_UP_H:
        hours = max(chance.weibullvariate(typical[up], SHAPE), SHORTEST_H)
        spells.append((up, hours))
        hour, up = hour + hours, not up
    return of_spells(spells)


def read(path: Path) -> dict[str, Availability]:
    """By name. Raises `Invalid` (code TRACE_INVALID) for a file that is not one."""
    found: dict[str, Availability] = {}
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        for row in csv.DictReader(io.StringIO(text)):
            gap_h = float(row["gap_s"]) / 3600.0
            parts = [part.split("x") for part in row["rle"].split()]
            found[row["trace"]] = of_spells((int(value) > 0, int(count) * gap_h) for value, count in parts)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        said = f"{path} is not a file of availability; {type(error).__name__}: {error}"
        raise Invalid(said, code="TRACE_INVALID", hint="see docs/capacity.md", path=str(path)) from error
    if not found or any(each.length <= 0 for each in found.values()):
        raise Invalid(f"{path} has no samples", code="TRACE_INVALID", hint="see docs/capacity.md", path=str(path))
    return found


def for_zones(zones: Iterable[str], found: dict[str, Availability]) -> dict[str, Availability]:
    """A zone gets the line that ends with its name; those without one get the others, in order."""
    by_name = {zone: next((name for name in found if name.endswith(zone)), "") for zone in zones}
    others = [name for name in found if name not in by_name.values()] or list(found)
    unnamed = [zone for zone, name in by_name.items() if not name]
    by_name |= {zone: others[number % len(others)] for number, zone in enumerate(unnamed)}
    return {zone: found[name] for zone, name in by_name.items()}
