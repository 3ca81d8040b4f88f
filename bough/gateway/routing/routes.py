"""The routing table in use: which entry a service name means, and which lane an entry sends to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from bough.gateway.call import Call
from bough.gateway.callers.keys import Keyring, Tokens
from bough.gateway.models import WEB, LaneState, Route, ShareState, Table, Variant
from bough.gateway.routing.cache import Cache
from bough.gateway.routing.split import Share, Split, Way, state_of
from bough.gateway.taps.tap import Tap
from bough.gateway.taps.tape import Tape
from bough.gateway.telemetry.metrics import LaneStats, RouteStats
from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.kernel.project import PRODUCTION

Name = tuple[str, str, str, str]  # project, environment, service, api
PAST_RELEASES = 3  # of one service whose numbers are still shown
PAST_TOTAL = 256
_decode = msgspec.json.Decoder(Table).decode


class AnyLane(Protocol):
    """What the table needs of a lane, whatever it leads to."""

    route: Route
    closed: bool
    stats: LaneStats

    @property
    def ready(self) -> bool:
        """Somebody is there to answer, or will be when asked."""

    def state(self) -> LaneState: ...

    def update(self, route: Route) -> None: ...

    def drain(self) -> None: ...

    def close(self) -> None: ...

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None:
        """Takes a call to answer; raises a `Problem` when it cannot."""

    def cancel(self, call: Call) -> None:
        """Nobody waits for it any more."""

    def progress(self, call: Call, now: float) -> None:
        """A part of its streamed answer has gone out."""

    def woken(self, unit: str, address: str, attempt: int) -> None:
        """The node was asked for a unit, of this lane or another, and says where it is."""

    def tick(self) -> None:
        """Once a second."""


class Entry:
    """A public name. `lane` is its deployment's; `coming` is the next deployment's, until it is ready. `stats` are
    those of the release that `lane` belongs to. `way` is what takes requests: `lane`, or the split or the cache before
    it."""

    __slots__ = ("_inner", "coming", "lane", "route", "split", "stats", "tap", "way")

    def __init__(self, route: Route, lane: AnyLane, stats: RouteStats) -> None:
        self.route = route
        self.lane = lane
        self.coming: AnyLane | None = None
        self.stats = stats
        self.split: Split | None = None
        self.tap: Tap | None = None
        self._inner: Way | Split | Cache = lane
        self.way: Way | Split | Cache | Tap = lane
        self._choose_way()

    def lead_to(self, lane: AnyLane) -> None:
        self.lane = lane
        self._choose_way()

    def divide(self, split: Split | None) -> None:
        self.split = split
        self._choose_way()

    def watch(self, tap: Tap | None) -> None:
        self.tap = tap
        self._choose_way()

    def _choose_way(self) -> None:
        """Where several deployments answer, no answer is kept: it would be asked for in the name of all."""
        if self.split is not None or not self.route.cache_bytes:
            self._inner = self.split or self.lane
        elif not (isinstance(self._inner, Cache) and self._inner.lane is self.lane):
            self._inner = Cache(self.lane)
        self.way = self.tap or self._inner

    def main(self) -> AnyLane:
        return self.lane

    def inner(self) -> Way | Split | Cache:
        """What a tap stands before."""
        return self._inner

    # --- split.Way: a share of another route may lead here

    @property
    def ready(self) -> bool:
        return self.lane.ready

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None:
        self.way.submit(call, verb, body, meta, now)

    def cancel(self, call: Call) -> None:
        self.way.cancel(call)

    def progress(self, call: Call, now: float) -> None:
        self.way.progress(call, now)


class Scope:
    """What a request said about whom it means. Empty: nothing."""

    __slots__ = ("environment", "project", "service")

    def __init__(self, project: str = "", environment: str = "", service: str = "") -> None:
        self.project = project
        self.environment = environment
        self.service = service


def spelt(scope: Scope, name: str) -> tuple[Scope, str]:
    """Where a name is looked for, and the name alone: NAME[--ENVIRONMENT].PROJECT says all by itself."""
    label, dot, project = name.partition(".")
    if not dot:
        return scope, name
    name, _, environment = label.partition("--")
    return Scope(project, environment), name


class Routes:
    """Entries, kept over reloads so that what is under way is not disturbed."""

    def __init__(
        self, make: Callable[[Route], AnyLane], hand_over: Callable[[AnyLane, AnyLane], None], tape: Tape | None = None
    ) -> None:
        """Without `tape` nothing is mirrored and nothing kept."""
        self.generation = 0
        self._tape = tape
        self.keys = Keyring(Table(generation=0))
        self.entries: dict[Name, Entry] = {}
        self.leaving: list[AnyLane] = []
        self.releases = Releases()
        self.tokens: Tokens | None = None
        self.switched: Callable[[], None] = lambda: None  # an entry has got another lane
        self._by_service: dict[str, list[Entry]] = {}
        self._share_lanes: dict[str, AnyLane] = {}  # of variants, by deployment
        self._make = make
        self._hand_over = hand_over

    def apply(self, table: Table) -> None:
        """Makes `table` the one in use. Entries that stay keep their lanes; a new deployment takes over when it is
        ready; what is gone drains."""
        wanted = {(route.project, route.environment, route.service, route.api): route for route in table.routes}
        for name in [name for name in self.entries if name not in wanted]:
            entry = self.entries.pop(name)
            self._divide(entry, msgspec.structs.replace(entry.route, variants=[]))
            self._retire(entry.lane)
            if entry.coming is not None:
                self._retire(entry.coming)
        for name, route in wanted.items():
            entry = self.entries.get(name)  # type: ignore[assignment]
            if entry is None:
                self.entries[name] = Entry(route, self._make(route), self.releases.of(route))
            else:
                self._replace(entry, route)
                entry.stats = self.releases.of(entry.lane.route)
        for name, route in wanted.items():
            self._divide(self.entries[name], route)
            self._watch(self.entries[name], route)
        self.releases.prune({stats.labels for entry in self.entries.values() for stats in _all_stats(entry)})
        self._by_service = {}
        for (_, _, service, _), entry in self.entries.items():
            self._by_service.setdefault(service, []).append(entry)
        self.keys = Keyring(table, self.tokens)
        self.generation = table.generation

    def find(self, scope: Scope, service: str, api: str | None = None) -> Entry:
        """The entry that `service` means; written SERVICE[--ENVIRONMENT].PROJECT it says all by itself. Without `api`
        the newest that is not deprecated. Raises `NotFound` (code ROUTE_NOT_FOUND) or `Conflict` (ROUTE_AMBIGUOUS)."""
        scope, service = spelt(scope, service)
        environment = scope.environment or PRODUCTION
        named = self._by_service.get(service, ())
        found = [
            entry for entry in named
            if entry.route.environment == environment
            and (not scope.project or entry.route.project == scope.project)
            and (not scope.service or scope.service == service)
            and (api is None or entry.route.api == api)
        ]  # fmt: skip
        if not found:
            raise _not_found(service, api, environment, named)
        if len(found) > 1 and not scope.project:
            found = [entry for entry in found if entry.route.bare] or found
        projects = sorted({entry.route.project for entry in found})
        if len(projects) > 1:
            raise Conflict(
                f"{service} exists in the projects {', '.join(projects)}", code="ROUTE_AMBIGUOUS",
                hint=f"write {service}.{projects[0]} in its place, or send the header 'X-Bough-Project: {projects[0]}'",
                projects=projects, header="X-Bough-Project",
            )  # fmt: skip
        return max(found, key=_preference)

    def successor(self, entry: Entry) -> str:
        """The newest API version of the same name that is not deprecated; empty when there is none."""
        route = entry.route
        same = [
            other for other in self._by_service.get(route.service, ())
            if (other.route.project, other.route.environment) == (route.project, route.environment)
            and not other.route.deprecated
        ]  # fmt: skip
        return max(same, key=_preference).route.api if same else ""

    def lanes(self) -> Iterator[AnyLane]:
        """Every lane that still exists."""
        for entry in self.entries.values():
            yield entry.lane
            if entry.coming is not None:
                yield entry.coming
            if entry.split is not None:
                for share in entry.split.shares:
                    if share.variant.leads_to is None:
                        yield self._share_lanes[share.variant.deployment]
        self.leaving = [lane for lane in self.leaving if not lane.closed]
        yield from self.leaving

    def shares(self) -> Iterator[ShareState]:
        """What the deployments of divided routes have answered."""
        for entry in self.entries.values():
            if entry.split is not None:
                yield state_of(entry.lane.route.deployment, entry.stats)
                yield from (share.state() for share in entry.split.shares)

    def answering(self) -> dict[tuple[str, ...], str]:
        """The deployment that answers now, by the labels of its statistics; those with a share as well."""
        found: dict[tuple[str, ...], str] = {}
        for entry in self.entries.values():
            found[entry.stats.labels] = entry.lane.route.deployment
            if entry.split is not None:
                found |= {share.stats.labels: share.variant.deployment for share in entry.split.shares}
        return found

    def became_ready(self, lane: AnyLane) -> None:
        """Switches the entry for which this lane was coming."""
        for entry in self.entries.values():
            if entry.coming is lane:
                before, entry.coming = entry.lane, None
                entry.lead_to(lane)
                entry.stats = self.releases.of(lane.route)
                self._hand_over(before, lane)
                self._retire(before)
                self.switched()

    def observed(self, route: Route, body: bytes) -> None:
        """A replica of `route` tells what it has sampled."""
        self.releases.of(route).model.add(body)

    def _replace(self, entry: Entry, route: Route) -> None:
        entry.route = route
        if entry.coming is not None and entry.coming.route.deployment != route.deployment:
            if entry.lane.route.deployment == route.deployment or entry.lane.ready:
                self._retire(entry.coming)
                entry.coming = None
            else:  # neither is up: only the newest matters
                self._hand_over(entry.lane, entry.coming)
                self._retire(entry.lane)
                entry.lead_to(entry.coming)
                entry.coming = None
        for lane in (entry.lane, entry.coming):
            if lane is not None and lane.route.deployment == route.deployment and lane.route.kind == route.kind:
                lane.update(route)
                return
        fresh = self._promoted(entry, route) or self._make(route)
        if entry.lane.ready and not fresh.ready:
            entry.coming = fresh
        else:
            before = entry.lane
            entry.lead_to(fresh)
            self._hand_over(before, fresh)
            self._retire(before)

    def _divide(self, entry: Entry, route: Route) -> None:
        """Gives the variants of `route` their lanes, and lets those go that are none any more."""
        there = {share.variant.name: share for share in entry.split.shares} if entry.split else {}
        wanted = {each.name: each for each in route.variants}
        for name, share in there.items():
            kept, before = wanted.get(name), share.variant
            stays = kept is not None and (kept.deployment, kept.leads_to) == (before.deployment, None)
            if before.leads_to is None and not stays:
                self._retire(self._share_lanes.pop(before.deployment))
        if not wanted:
            entry.divide(None)
            return
        if entry.split is None or entry.split.sticky != route.sticky:
            entry.divide(Split(route.sticky, entry.main))
        assert entry.split is not None  # noqa: S101 - made above
        shares = [self._share(route, variant, there.get(variant.name)) for variant in wanted.values()]
        entry.split.shares = [share for share in shares if share is not None]

    def _watch(self, entry: Entry, route: Route) -> None:
        """Puts a tap before an entry that is mirrored or whose requests are kept."""
        if self._tape is None or not (route.mirrors or (route.keep and route.kind != WEB)):
            entry.watch(None)
            return
        if entry.tap is None:
            entry.watch(Tap(entry.inner, partial(self._counterpart, entry), self._tape))
        assert entry.tap is not None  # noqa: S101 - made above
        entry.tap.take(route)

    def _counterpart(self, entry: Entry, environment: str) -> Entry | None:
        """The same service of another environment: by its API if that is there as well, else its newest."""
        route = entry.route
        same = self.entries.get((route.project, environment, route.service, route.api))
        if same is not None:
            return same
        others = [
            other for other in self._by_service.get(route.service, ())
            if (other.route.project, other.route.environment) == (route.project, environment)
        ]  # fmt: skip
        return max(others, key=_preference, default=None)

    def _share(self, route: Route, variant: Variant, before: Share | None) -> Share | None:
        """What answers for a variant; None where it leads to a route that the table has not."""
        own = msgspec.structs.replace(
            route, deployment=variant.deployment, targets=variant.targets, signature=variant.signature, variants=[],
            variant=variant.name, asleep=variant.asleep,
        )  # fmt: skip
        if variant.leads_to is not None:
            api, service = variant.leads_to
            other = self.entries.get((route.project, route.environment, service, api))
            if other is None:
                return None
            if before is None or before.lane is not other:
                before = Share(other, other.main, variant, self.releases.of(own))
        else:
            if variant.deployment not in self._share_lanes:
                lane = self._share_lanes[variant.deployment] = self._make(own)
                before = Share(lane, lambda: lane, variant, self.releases.of(own))
            self._share_lanes[variant.deployment].update(own)
        assert before is not None  # noqa: S101 - a lane that was there has a share
        before.take(variant)
        return before

    def _promoted(self, entry: Entry, route: Route) -> AnyLane | None:
        """The lane of the variant that `route` makes the entry's own deployment: it is connected already."""
        lane = self._share_lanes.pop(route.deployment, None)
        if lane is None or entry.split is None or lane.route.kind != route.kind:
            return None
        entry.split.shares = [each for each in entry.split.shares if each.variant.deployment != route.deployment]
        lane.update(route)
        return lane

    def _retire(self, lane: AnyLane) -> None:
        lane.drain()
        if not lane.closed:
            self.leaving.append(lane)


class Releases:
    """The statistics of the releases in use and, for scrapes to come, of some that were."""

    def __init__(self) -> None:
        self._stats: dict[tuple[str, ...], RouteStats] = {}

    def of(self, route: Route) -> RouteStats:
        labels = (route.project, route.environment, route.service, route.api, _release_label(route))
        stats = self._stats.pop(labels, None) or RouteStats(*labels)
        stats.kind = route.kind
        stats.operation = (route.signature.openai or "") if route.signature is not None else ""
        self._stats[labels] = stats  # the one used last comes last
        return stats

    def all(self) -> list[RouteStats]:
        return list(self._stats.values())

    def prune(self, live: set[tuple[str, ...]]) -> None:
        """Forgets what is neither live nor among the last `PAST_RELEASES` of its service and `PAST_TOTAL` of all."""
        kept: dict[tuple[str, ...], int] = {}
        past = [labels for labels in reversed(self._stats) if labels not in live]
        for number, labels in enumerate(past):
            kept[labels[:-1]] = kept.get(labels[:-1], 0) + 1
            if number >= PAST_TOTAL or kept[labels[:-1]] > PAST_RELEASES:
                del self._stats[labels]


def read_table(path: Path) -> Table:
    """The table in `path`; raises `Invalid` when it is missing, torn, or says the impossible."""
    try:
        table = _decode(path.read_bytes())
    except FileNotFoundError:
        raise Invalid(f"there is no routing table at {path}", code="TABLE_MISSING", hint="bough up") from None
    except (OSError, msgspec.DecodeError) as error:
        raise Invalid(
            f"the routing table {path} cannot be read: {error}", code="TABLE_INVALID", hint="bough up"
        ) from error
    for route in table.routes:
        if route.kind not in ("model", "web", "mock"):
            raise Invalid(f"route {route.service} is of unknown kind {route.kind!r}", code="TABLE_INVALID")
        for target in route.targets:
            if route.kind == "model" and target.address and not target.address.startswith("unix:"):
                raise Invalid(f"target {target.unit} of {route.service} is no Unix socket", code="TABLE_INVALID")
    return table


def _release_label(route: Route) -> str:
    return f"{route.release}/{route.variant}" if route.variant else str(route.release)


def _all_stats(entry: Entry) -> list[RouteStats]:
    return [entry.stats, *(share.stats for share in entry.split.shares)] if entry.split else [entry.stats]


def _preference(entry: Entry) -> tuple[bool, int, str]:
    digits = entry.route.api.lstrip("v")
    return not entry.route.deprecated, int(digits) if digits.isdigit() else 0, entry.route.api


def _not_found(service: str, api: str | None, environment: str, named: Iterable[Entry]) -> NotFound:
    elsewhere = sorted({f"{entry.route.project}/{entry.route.environment}/{entry.route.api}" for entry in named})
    at = f" (api {api})" if api else ""
    return NotFound(
        f"there is no service {service}{at} in environment {environment}", code="ROUTE_NOT_FOUND",
        hint=f"it exists as {', '.join(elsewhere)} (project/environment/api)" if elsewhere else "bough status",
    )  # fmt: skip
