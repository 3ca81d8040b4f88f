"""`scale` of a service in `bough.toml`: how many replicas it may have, and what they are for."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

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


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`add` replicas more once `signal` has been at `reaches` or above for `for_s`, and again each `again_s` for as
    long as it stays there. Of those that are reached at once the one that adds most counts. `load`, `in_flight`, `cpu`
    and `gpu` are shares of what the active replicas can do, `queue` is requests that wait, `latency` seconds."""

    signal: Literal["load", "queue", "in_flight", "cpu", "gpu", "latency"]
    reaches: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    add: Annotated[int, msgspec.Meta(ge=1, le=MOST)]
    for_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    again_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0

    @property
    def name(self) -> str:
        """As decisions name it."""
        return f"{self.signal}>={self.reaches:g}"


class Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without `max` a service keeps `replicas`. Everything else has a value that needs no thought; -1 is learnt."""

    min: _Count = 1  # 0: sleeps when nobody asks, and is woken by the first request
    max: _Count = 0
    target: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 1.0  # seconds that a request may wait; one in 100 longer
    latency: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0  # seconds; 99 of 100 answers are to be sooner; 0: any
    late_cost: Annotated[float, msgspec.Meta(ge=0, le=100_000)] = 0.0  # of a late request, in its own work; 0: learnt
    signals: tuple[str, ...] = SIGNALS  # which the rule asks; empty: `steps` and `schedule` alone decide
    steps: tuple[Step, ...] = ()  # replicas that are added from a value on, whatever the rule asks for
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


def wrong(scale: Scale) -> tuple[str, str, str] | None:
    """The key that cannot be followed, why, and what could stand there; None: all can."""
    if scale.max and scale.max < scale.min:
        return "max", f"{scale.max} is less than min = {scale.min}", f"max = {scale.min}"
    if unknown := [each for each in scale.signals if each not in SIGNALS]:
        return "signals", f"{unknown[0]!r} is not one of {', '.join(SIGNALS)}", 'signals = ["load", "queue"]'
    if said := _wrong_steps(scale):
        return "steps", said, 'max = 8, steps = [{ signal = "queue", reaches = 10, add = 2 }]'
    return None


def _wrong_steps(scale: Scale) -> str:
    if scale.steps and not scale.max:
        return "steps add replicas, and max says up to how many"
    least: dict[str, Step] = {}
    for step in sorted(scale.steps, key=lambda each: each.reaches):
        before = least.get(step.signal)
        if before is not None and (step.reaches == before.reaches or step.add <= before.add):
            return f"{step.name} must add more than {before.name} does, which is reached before it"
        least[step.signal] = step
    return ""


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
