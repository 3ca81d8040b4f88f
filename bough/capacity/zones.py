"""What was seen of zones, as data that only grows. Times are hours of the market's clock. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from bough.capacity.rates import EDGES_H, UNKNOWN_AGE_H, Seen, looked_on, rates, step_of

BLIND_H = 0.5  # between two looks, more: what happened meanwhile is not known, and nothing is learnt from it
ELSEWHERE_PRIOR = (1.0, 2.0)  # of so many losses as the second, so many found another zone available


class ZoneSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A zone: what it is now, since when, and all its spells that anybody looked on."""

    up: bool
    since: float  # when the spell began, or is believed to have begun
    watched: float  # from when on it was looked on
    at: float  # the last look
    available: Seen = Seen()
    away: Seen = Seen()

    @property
    def age_h(self) -> float:
        return self.at - self.since

    def leaving(self) -> tuple[float, ...]:
        """Rates at which its availability ends, by age; what is seen of a spell that lasts counts."""
        return rates(self.until_now(self.available) if self.up else self.available)

    def returning(self) -> tuple[float, ...]:
        return rates(self.away if self.up else self.until_now(self.away))

    def until_now(self, seen: Seen) -> Seen:
        """`seen`, with the part of the spell that was looked on and lasts."""
        return looked_on(seen, self.watched - self.since, self.at - self.since, ended=False)


class MarketSeen(msgspec.Struct, frozen=True, kw_only=True):
    """Zones that one job could use, and the market as one: `any` is up while at least one of them is."""

    zones: dict[str, ZoneSeen] = {}
    any: ZoneSeen | None = None
    losses: float = 0.0  # ends of availability, of any zone
    elsewhere: float = 0.0  # of these, how many left another zone available

    @property
    def ups(self) -> dict[str, bool]:
        return {name: zone.up for name, zone in self.zones.items()}

    @property
    def chance_elsewhere(self) -> float:
        """That another zone is available when one goes away."""
        if len(self.zones) < 2:
            return 0.0
        return (ELSEWHERE_PRIOR[0] + self.elsewhere) / (ELSEWHERE_PRIOR[1] + self.losses)


def look(seen: ZoneSeen | None, up: bool, now: float) -> ZoneSeen:
    """After a look at a zone."""
    if seen is None:
        return ZoneSeen(up=up, since=now - UNKNOWN_AGE_H, watched=now, at=now)
    if now - seen.at > BLIND_H:
        fresh = ZoneSeen(up=up, since=now - UNKNOWN_AGE_H, watched=now, at=now)
        return msgspec.structs.replace(fresh, available=seen.available, away=seen.away)
    if up == seen.up:
        return msgspec.structs.replace(seen, at=now)
    spell = looked_on(seen.available if seen.up else seen.away, seen.watched - seen.since, now - seen.since, ended=True)
    changed = {"available": spell} if seen.up else {"away": spell}
    return msgspec.structs.replace(seen, up=up, since=now, watched=now, at=now, **changed)


def look_at_all(seen: MarketSeen, ups: Mapping[str, bool], now: float) -> MarketSeen:
    """After a look at all zones at once."""
    before = seen.zones
    zones = {name: look(before.get(name), up, now) for name, up in ups.items()}
    lost = sum(1 for name, up in ups.items() if not up and name in before and before[name].up)
    anywhere = any(ups.values())
    return MarketSeen(
        zones=zones,
        any=look(seen.any, anywhere, now),
        losses=seen.losses + lost,
        elsewhere=seen.elsewhere + (lost if anywhere else 0),
    )


def together(zones: Mapping[str, ZoneSeen]) -> tuple[float, ...]:
    """Rates at which availability ends, over all zones as if they were one."""
    total = Seen()
    for each in zones.values():
        part = each.until_now(each.available) if each.up else each.available
        total = Seen(
            hours=tuple(a + b for a, b in zip(total.hours, part.hours, strict=True)),
            ends=tuple(a + b for a, b in zip(total.ends, part.ends, strict=True)),
        )
    return rates(total)


def expected_life(leaving: tuple[float, ...], age_h: float, most_h: float) -> float:
    """Mean hours that a spell of this age goes on, at most `most_h`."""
    alive, life, age, end = 1.0, 0.0, age_h, age_h + most_h
    for step in range(step_of(age_h), len(leaving)):
        until = min(EDGES_H[step] if step < len(EDGES_H) else math.inf, end)
        lasts = math.exp(-leaving[step] * (until - age))
        life += alive * (1.0 - lasts) / leaving[step]
        alive, age = alive * lasts, until
        if age >= end:
            break
    return life
