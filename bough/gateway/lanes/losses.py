"""Calls that a replica died with and that are not sent again. They are refused when the node says how it died, which it
does when it is asked for the next one, or else in a moment. A web service's process may live on, and only have closed a
connection: the node says that as well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

import msgspec

from bough.gateway.call import Call
from bough.gateway.lanes import refusals
from bough.gateway.models import Route, Target
from bough.runtime.spec import Exited

WORD_S = 0.5  # for the node to say how: it hears within milliseconds, unless what is left of a unit must be killed

log = logging.getLogger("bough.gateway")
Hear = Callable[[Exited | None], None]


class Losses:
    """Of one lane, which hears by `settled` that calls have been refused. True while some have not."""

    __slots__ = ("_calls", "_settled")

    def __init__(self, settled: Callable[[], None]) -> None:
        self._calls: dict[str, tuple[Route, list[Call]]] = {}  # by the unit that died with them
        self._settled = settled

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, route: Route, unit: str, calls: list[Call]) -> None:
        if unit not in self._calls:
            asyncio.get_running_loop().call_later(WORD_S, self.tell, unit, None)
        self._calls.setdefault(unit, (route, []))[1].extend(calls)

    def tell(self, unit: str, how: Exited | None) -> None:
        """How a unit's last attempt ended; None: nobody knows."""
        if unit not in self._calls:
            return
        route, calls = self._calls.pop(unit)
        service = f"{route.project}/{route.environment}/{route.service}"
        known = msgspec.json.encode(how).decode() if how else "nobody says how"
        log.warning("%s of %s died with %d requests that are not sent again: %s", unit, service, len(calls), known)
        for call in calls:
            if not call.dropped:
                call.client.refuse(call, refusals.lost(route, call.attempts, how), monotonic())
        self._settled()

    def give_up(self) -> None:
        for unit in list(self._calls):
            self.tell(unit, None)


class Partings:
    """Of one web service: connections that ended before they were answered on, whose process the node is asked for."""

    __slots__ = ("_hearing", "_wake")

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._hearing: dict[str, tuple[int, list[Hear]]] = {}  # by unit: the attempt, and who hears what became of it
        self._wake = wake

    def ask(self, target: Target, hear: Hear) -> None:
        """`hear` is told how the process ended; None: it runs, or nobody knows."""
        if target.unit not in self._hearing:
            asyncio.get_running_loop().call_later(WORD_S, self.tell, target.unit, 0, None)
        self._hearing.setdefault(target.unit, (target.attempt, []))[1].append(hear)
        self._wake(target.unit)

    def tell(self, unit: str, attempt: int, before: Exited | None) -> None:
        """The attempt that there is now, and how the one before it ended."""
        if unit not in self._hearing:
            return
        asked, hearing = self._hearing.pop(unit)
        how = before if attempt > asked else None
        if how is not None:
            known = msgspec.json.encode(how).decode()
            log.warning("%s died with %d requests that are not sent again: %s", unit, len(hearing), known)
        for hear in hearing:
            hear(how)
