"""Verbs of mirrors and replays."""

from __future__ import annotations

from typing import Annotated

import msgspec
import sqlalchemy as sa

from bough.adapters.engine import Engine
from bough.environments import store as environments
from bough.gateway.loop import changed
from bough.gateway.taps import kept, pairs
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.kernel.moments import duration_s
from bough.kernel.names import new_id
from bough.kernel.operations import operation
from bough.kernel.platform import Home
from bough.kernel.reconcile import wake
from bough.mirrors import metering, rules, store
from bough.mirrors.models import REPLAYING, Replay, TrafficReport
from bough.serving import mirroring
from bough.serving.mirroring import RUNNING, STOPPED, Mirror

MIRROR = "mirror"
TOLERANCE = 1e-6

Source = Annotated[str, msgspec.Meta(description="environment whose requests are meant; main is production")]
To = Annotated[
    str, msgspec.Meta(description="environment, or git branch, that gets them", extra_json_schema={"flag": "to"})
]
OneService = Annotated[str, msgspec.Meta(description="one service; every one that both have without it")]
Tolerance = Annotated[
    float, msgspec.Meta(ge=0, le=1, description="numbers count as equal when they are relatively so near")
]


class StartMirror(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Source
    to: To
    sample: Annotated[str, msgspec.Meta(description="share of the requests")] = "100%"
    service: OneService = ""
    during: Annotated[
        str,
        msgspec.Meta(
            description="so long, such as 10m; until it is stopped without it", extra_json_schema={"flag": "for"}
        ),
    ] = ""
    tolerance: Tolerance = TOLERANCE


class StartReplay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    to: To
    source: Annotated[
        str,
        msgspec.Meta(description="environment whose kept requests are sent", extra_json_schema={"flag": "from"}),
    ] = "main"
    last: Annotated[int, msgspec.Meta(ge=1, le=1_000_000, description="so many of the newest, of each service")] = 1000
    service: OneService = ""
    both: Annotated[
        bool, msgspec.Meta(description="ask the first environment again too, in place of the answers it gave then")
    ] = False
    tolerance: Tolerance = TOLERANCE


class OfTraffic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20


class OneMirror(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str


@operation("mirrors.start", role=Role.DEVELOPER, writes=True, command="mirror")
def start(context: Context, request: StartMirror) -> Mirror:
    """Copies requests of an environment to another one and compares the answers, without touching those of callers."""
    source, target = _places(context.tx, request.project, request.environment, request.to)
    named = _services(context.tx, request.project, source, target, request.service, web=True)
    for each in mirroring.running(context.tx, request.project, source):
        if each.target == target and (not each.service or not request.service or each.service == request.service):
            raise Conflict(f"{source} is mirrored to {target} already", code="MIRROR_RUNNING",
                           hint=f"bough mirrors stop {each.id}")  # fmt: skip
    now = context.clock.now()
    made = Mirror(
        id=new_id("mir"), project=request.project, environment=source, target=target, service=request.service,
        percent=rules.percent(request.sample), tolerance=request.tolerance, state=RUNNING, by=context.principal.name,
        started_at=now, until=now + duration_s(request.during) if request.during else 0.0,
        cpu_before=metering.spent(context.tx, context.part(Engine), request.project, (source, target), named),
    )  # fmt: skip
    mirroring.add(context.tx, made)
    wake(context.tx, MIRROR, made.id)
    changed(context.tx)
    context.emit("mirror.started", made.id, project=made.project, environment=source, target=target,
                 percent=made.percent, services=named)  # fmt: skip
    return made


@operation("mirrors.list", role=Role.VIEWER)
def list_(context: Context, request: OfTraffic) -> list[Mirror]:
    """Lists mirrors of a project, newest first."""
    return mirroring.listed(context.tx, request.project, request.limit)


@operation("mirrors.stop", role=Role.DEVELOPER, writes=True)
def stop(context: Context, request: OneMirror) -> Mirror:
    """Ends a mirror; what it has found stays."""
    found = mirroring.get(context.tx, request.id)
    if found.state == RUNNING:
        end(context.tx, context.part(Engine), found, context.clock.now())
        context.emit("mirror.stopped", found.id, project=found.project, environment=found.environment)
    return mirroring.get(context.tx, request.id)


@operation("mirrors.report", role=Role.VIEWER)
def report(context: Context, request: OneMirror) -> TrafficReport:
    """Compares what both environments have answered: a mirror's, also while it runs, or a replay's."""
    tx, folder, now = context.tx, context.part(Home).traffic, context.clock.now()
    if request.id.startswith("rep_"):
        replay = store.get(tx, request.id)
        sides = (replay.environment, replay.target)
        lines = pairs.read(folder / "replays" / f"{replay.id}.jsonl")
        cpu = metering.between(replay.cpu_before, replay.cpu_after)
        if not replay.both:
            cpu = {key: value for key, value in cpu.items() if key.startswith(rules.TARGET)}
        return TrafficReport(
            id=replay.id, kind="replay", project=replay.project, source=sides[0], target=sides[1], state=replay.state,
            started_at=replay.started_at, ended_at=replay.finished_at, services=rules.comparisons(lines, sides, cpu),
            details={"why": replay.why, "both": replay.both},
        )  # fmt: skip
    found = mirroring.get(tx, request.id)
    sides = (found.environment, found.target)
    after = found.cpu_after
    if found.state == RUNNING:
        named = metering.services(tx, found.project, *sides, found.service)
        after = metering.spent(tx, context.part(Engine), found.project, sides, named)
    return TrafficReport(
        id=found.id, kind="mirror", project=found.project, source=sides[0], target=sides[1], state=found.state,
        started_at=found.started_at, ended_at=found.stopped_at or now,
        services=rules.comparisons(
            pairs.read(folder / "mirrors" / f"{found.id}.jsonl"), sides, metering.between(found.cpu_before, after)
        ),
        details={"percent": found.percent, "until": found.until},
    )  # fmt: skip


@operation("replays.start", role=Role.DEVELOPER, writes=True, command="replay")
def replay(context: Context, request: StartReplay) -> Replay:
    """Sends requests that a service has kept to another environment, and compares the answers."""
    source, target = _places(context.tx, request.project, request.source, request.to)
    named = _services(context.tx, request.project, source, target, request.service, web=False)
    folder = context.part(Home).traffic / "kept"
    files = [kept.file_of(folder, request.project, source, each) for each in named]
    if not any(each.exists() or kept.older(each).exists() for each in files):
        raise NotFound(
            f"no request to {', '.join(named)} of {request.project}/{source} was kept", code="KEPT_NOTHING",
            hint="[services.NAME.keep] requests = 1000 in bough.toml, and deploy",
        )  # fmt: skip
    made = Replay(
        id=new_id("rep"), project=request.project, environment=source, target=target, service=request.service,
        count=request.last, tolerance=request.tolerance, both=request.both, state=REPLAYING,
        by=context.principal.name, started_at=context.clock.now(),
        cpu_before=metering.spent(context.tx, context.part(Engine), request.project, (source, target), named),
    )  # fmt: skip
    store.add(context.tx, made)
    wake(context.tx, store.KIND, made.id)
    context.emit("replay.started", made.id, project=made.project, environment=source, target=target, services=named)
    return made


@operation("replays.list", role=Role.VIEWER)
def list_replays(context: Context, request: OfTraffic) -> list[Replay]:
    """Lists replays of a project, newest first."""
    return store.listed(context.tx, request.project, request.limit)


@operation("replays.show", role=Role.VIEWER)
def show_replay(context: Context, request: OneMirror) -> Replay:
    """Shows a replay: how far it is. What it has found: bough mirrors report ID."""
    return store.get(context.tx, request.id)


def end(tx: sa.Connection, engine: Engine, mirror: Mirror, now: float) -> None:
    """Stops a mirror."""
    sides = (mirror.environment, mirror.target)
    named = metering.services(tx, mirror.project, *sides, mirror.service)
    after = metering.spent(tx, engine, mirror.project, sides, named)
    mirroring.change(tx, mirror.id, state=STOPPED, stopped_at=now, cpu_after=after)
    changed(tx)


def _places(tx: sa.Connection, project: str, source: str, target: str) -> tuple[str, str]:
    found = environments.resolve(tx, project, source)[1], environments.resolve(tx, project, target)[1]
    if found[0] == found[1]:
        raise Invalid(f"{found[0]} would be compared with itself", code="MIRROR_SELF", hint="--to BRANCH")
    return found


def _services(tx: sa.Connection, project: str, source: str, target: str, service: str, *, web: bool) -> list[str]:
    named = metering.services(tx, project, source, target, service, web=web)
    if not named:
        kind = "service" if web else "model service"
        what = f"the {kind} {service!r}" if service else f"a {kind}"
        raise NotFound(f"{source} and {target} do not both have {what} live", code="SERVICE_NOT_SHARED",
                       hint=f"bough status -e {target}")  # fmt: skip
    return named
