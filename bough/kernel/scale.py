"""`scale` of a service in `bough.toml`: how many replicas it may have, and what they are for."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec

MOST = 1_000_000
USUAL, USUAL_WITH_POOL = 10.0, 100.0  # `late_cost` that nobody has set
SIGNALS = ("load", "queue", "in_flight", "cpu", "gpu", "latency")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]


class Slot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At least `min` replicas on these days between these times, of the server's clock. `until` before `at`: over
    midnight."""

    at: Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    until: Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    min: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 1
    days: Annotated[str, msgspec.Meta(pattern=r"^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$")] = (
        "mon-sun"
    )


class Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without `max` a service keeps `replicas`. Everything else has a value that needs no thought; -1 is learnt."""

    min: _Count = 1  # 0: sleeps when nobody asks, and is woken by the first request
    max: _Count = 0
    target: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 1.0  # seconds that a request may wait; one in 100 longer
    latency: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0  # seconds; 99 of 100 answers are to be sooner; 0: any
    late_cost: Annotated[float, msgspec.Meta(ge=0, le=100_000)] = 0.0  # of a late request, in its own work; 0: learnt
    signals: tuple[str, ...] = SIGNALS
    warm: Annotated[int, msgspec.Meta(ge=-1, le=MOST)] = -1  # most replicas in the pool
    buffer: _Count = 0  # least replicas in the pool, above all that is needed
    cooldown: Annotated[float, msgspec.Meta(ge=-1, le=86_400)] = -1.0  # least seconds before a replica is given up
    schedule: tuple[Slot, ...] = ()
    budget: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0  # replica-hours of a day (UTC) at most; 0: any

    @property
    def late_worth(self) -> float:
        """What it is worth that a request is not late. Where replicas wait for a tenth of the price, people come first:
        ten times as much costs about a tenth more and leaves next to nobody waiting."""
        return self.late_cost or (USUAL_WITH_POOL if self.warm else USUAL)

    @property
    def most(self) -> int:
        return max(self.max, self.min, 1)


def floor_of(schedule: tuple[Slot, ...], now: float) -> int:
    """The least that the schedule asks for at this time of this machine's clock."""
    at = datetime.datetime.fromtimestamp(now)
    clock, day = at.strftime("%H:%M"), at.weekday()
    floor = 0
    for slot in schedule:
        first, _, last = slot.days.partition("-")
        begin, length = DAYS.index(first), (DAYS.index(last or first) - DAYS.index(first)) % 7
        over_midnight = slot.until <= slot.at
        inside = clock >= slot.at or clock < slot.until if over_midnight else slot.at <= clock < slot.until
        of_day = (day - 1) % 7 if over_midnight and clock < slot.until else day
        if inside and (of_day - begin) % 7 <= length:
            floor = max(floor, slot.min)
    return floor
