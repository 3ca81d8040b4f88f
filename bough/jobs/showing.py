"""Job runs for people: views, timelines, and what they printed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import msgspec

from bough.adapters.engine import Attempt, Engine
from bough.builds import loop as builds
from bough.environments import store as releases
from bough.jobs import rules, store, units
from bough.jobs.models import (
    BUILDING,
    CHANGED,
    DECIDED,
    ENDED_EVENT,
    GAVE_BACK,
    JobProgress,
    JobRun,
    JobRunDetail,
    JobRunView,
    Moment,
)
from bough.jobs.units import Places
from bough.kernel import events
from bough.kernel.context import Context
from bough.kernel.errors import NotFound, Unavailable
from bough.kernel.events import Event
from bough.kernel.platform import Home
from bough.runtime.checkpoints.progress import Progress, read_progress
from bough.serving.reading import LogLine, parse, read, split, text_of

MOMENTS_SHOWN = 1000  # the newest
MEMBERS_SHOWN = 1000


def views(context: Context, runs: Sequence[JobRun]) -> list[JobRunView]:
    """With what those that run have had so far, whoever has set the clock meanwhile."""
    attempts: dict[str, Attempt] = {}
    if any(run.lease is not None for run in runs):
        with contextlib.suppress(Unavailable):  # then nobody knows of any clock that was set
            attempts = {each.unit: each for each in context.part(Engine).snapshot()}
    return [view(run, context.clock.now(), units.set_s(run, attempts)) for run in runs]


def view(run: JobRun, now: float = 0.0, set_s: float = 0.0) -> JobRunView:
    """`set_s`: by how much the clock was set since its attempt began."""
    settings, lease = run.manifest.settings, run.lease
    if lease is not None:
        lease = rules.as_set(lease, set_s)
    running = max(now - lease.acquired_at, 0.0) if lease is not None and now else 0.0
    return JobRunView(
        id=run.id, project=run.project, environment=run.environment, job=run.job, state=run.state, said=run.said,
        by=run.by, created_at=run.created_at, release=run.release, group=run.group, index=run.index,
        children=run.children, params=run.params, start_from=run.start_from, queue=settings.queue,
        priority=settings.priority, started_at=run.started_at, finished_at=run.finished_at, attempt=run.attempt,
        size=run.size, devices=run.devices, run=run.run, cost_center=settings.cost_center,
        seconds=round(run.seconds + running, 3),
        cost=run.cost + (lease.cost(now) if lease is not None and now else 0.0),
        capacity=f"{lease.offer.pool}/{lease.offer.zone}, {lease.offer.kind}" if lease is not None else "",
        slot=run.slot, failure=run.failure,
    )  # fmt: skip


def check_known(context: Context, place: tuple[str, str], job: str) -> None:
    """Raises `NotFound` of a job that is neither deployed nor has ever run there."""
    live = releases.live(context.tx, place)
    known = store.names(context.tx, place) | (live[1].jobs.keys() if live else set())
    if job not in known:
        raise NotFound(
            f"{'/'.join(place)} has no job {job!r}; it has {', '.join(sorted(known)) or 'none'}", code="JOB_NOT_FOUND",
            hint=f"bough jobs list lists the runs of all jobs; bough train {job} runs one of a folder",
        )  # fmt: skip


def detail(context: Context, run: JobRun) -> JobRunDetail:
    places = Places(context.part(Home))
    said = read_progress(places.checkpoints(run.id))
    progress = None
    if said is not None:
        left = max(said.total - said.step, 0) * said.step_s
        progress = JobProgress(
            step=said.step, total=said.total, saved_step=said.saved_step, step_s=said.step_s, left_s=round(left, 3),
            said=said.message, read_bytes=said.read_bytes, **_pace(said),
        )  # fmt: skip
    happened = events.last(context.tx, run.id, MOMENTS_SHOWN)
    timeline = [_moment(each) for each in happened if each.name != ENDED_EVENT]
    members = store.members(context.tx, run.id)
    totals, members = rules.counted(each.state for each in members), members[:MEMBERS_SHOWN]
    best = next((each.id for each in members if run.run and each.run == run.run), "")
    whole, *parts = views(context, [run, *members])
    if run.children and not run.ended:  # from its end on it says so itself
        seconds, cost = round(sum(each.seconds for each in parts), 3), sum(each.cost for each in parts)
        whole = msgspec.structs.replace(whole, seconds=seconds, cost=cost)
    return JobRunDetail(
        run=whole, timeline=timeline, progress=progress, runs=parts, totals=totals, best=best,
        checkpoints=str(places.checkpoints(run.id)) if said is not None else "",
    )  # fmt: skip


def _pace(said: Progress) -> dict[str, float]:
    """How fast its data came."""
    per_step = said.samples / said.step if said.step else 0.0
    return {
        "samples_per_s": round(per_step / said.step_s, 1) if said.step_s else 0.0,
        "read_mb_per_s": round(said.read_bytes / 1e6 / said.read_s, 2) if said.read_s else 0.0,
        "waited": round(said.waited_s / said.read_s, 3) if said.read_s else 0.0,
    }


class Output:
    """Reads what a run has printed, from the engine while that knows it and from the kept files after, so that a reader
    who comes back with a cursor misses nothing."""

    def __init__(self, context: Context, cursor: str, lines: int) -> None:
        self._engine, self._places = context.part(Engine), Places(context.part(Home))
        self._offsets = parse(cursor)
        self._tail = None if cursor else lines

    def cursor(self) -> str:
        return ",".join(f"{key}:{offset}" for key, offset in self._offsets.items())

    def read(self, run: JobRun, *, follow: bool) -> Iterator[LogLine]:
        found: list[tuple[str, int, int, bytes]] = []
        if run.state == BUILDING and follow:
            found += self._build(run)
        for attempt in range(1, run.attempt + 1):
            for rank in range(max(run.size, self._ranks(run, attempt))):
                found += self._attempt(run, attempt, rank, follow and not run.ended)
        if self._tail is not None and not follow:
            found = found[max(0, len(found) - self._tail) :]
        self._tail = None
        for unit, attempt, offset, line in found:
            self._offsets[f"{unit}/{attempt}"] = offset + len(line)
            yield LogLine(
                service=run.job, unit=unit, attempt=attempt, offset=offset, text=text_of(line), cursor=self.cursor()
            )

    def _ranks(self, run: JobRun, attempt: int) -> int:
        return len(list(self._places.folder(run.id).glob(f"log.{attempt}.*")))

    def _build(self, run: JobRun) -> Iterator[tuple[str, int, int, bytes]]:
        unit = builds.unit_of(units.build_request(run))
        attempt = next((each for each in self._engine.snapshot() if each.unit == unit), None)
        if attempt is not None and not (attempt.exit is not None and attempt.exit.at < run.created_at):
            yield from self._from_engine(unit, attempt.attempt, whole=False)

    def _attempt(self, run: JobRun, attempt: int, rank: int, growing: bool) -> Iterator[tuple[str, int, int, bytes]]:
        unit, path = run.unit(rank), self._places.log(run.id, attempt, rank)
        if path.exists():
            start = self._offsets.get(f"{unit}/{attempt}", 0)
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
            yield from ((unit, attempt, offset, line) for offset, line in split(data, start))
        elif attempt == run.attempt:
            yield from self._from_engine(unit, attempt, whole=not growing)

    def _from_engine(self, unit: str, attempt: int, *, whole: bool) -> Iterator[tuple[str, int, int, bytes]]:
        try:
            data, start = read(self._engine, unit, attempt, self._offsets.get(f"{unit}/{attempt}", 0))
        except NotFound:
            return
        if not whole:
            data = data[: data.rfind(b"\n") + 1]
        yield from ((unit, attempt, offset, line) for offset, line in split(data, start))


def _moment(event: Event) -> Moment:
    data = {key: value for key, value in event.data.items() if key not in ("project", "environment", "job")}
    if event.name == CHANGED:
        return Moment(at=event.at, what=str(data.pop("state")), said=str(data.pop("said")), data=data)
    if event.name == DECIDED:
        return Moment(at=event.at, what=f"capacity: {data.pop('action')}", said=str(data.pop("why")), data=data)
    if event.name == GAVE_BACK:
        said = f"{data['seconds']:.1f} s of {data['kind']} in {data['zone']}, {data['cost']:.4f}"
        return Moment(at=event.at, what="gave back", said=said, data=data)
    return Moment(at=event.at, what=event.name.removeprefix("job."), said=str(data.pop("said", "")), data=data)
