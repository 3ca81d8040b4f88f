"""Verbs of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa

from bough.environments import operations as environments
from bough.environments import store as releases
from bough.environments.models import JobManifest
from bough.environments.operations import Environment, OneEnvironment, ProposeRelease
from bough.jobs import asking, beginnings, cancelling, retrying, rules, schedules, showing, store, taking
from bough.jobs.asking import Asked
from bough.jobs.models import (
    BUILDING,
    CANCEL,
    CANCELLED,
    ENDING,
    PREFIX,
    RUNNING,
    STOPPING,
    SUCCEEDED,
    WAITING,
    JobNews,
    JobRun,
    JobRunDetail,
    JobRunView,
    Spent,
    TakenObject,
)
from bough.jobs.turning import say
from bough.jobs.units import Places
from bough.kernel import cron, trees
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, NotFound
from bough.kernel.jobs import bounds
from bough.kernel.operations import Commit, operation
from bough.kernel.platform import Home
from bough.kernel.project import PRODUCTION
from bough.serving.reading import LogLine

FOLLOW_S = 0.1


class RunJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`file` and `bundles` as in a release: then the job of that file runs, deployed or not; else that of the live
    release."""

    project: str
    job: str
    environment: Environment = PRODUCTION
    params: Annotated[dict[str, str], msgspec.Meta(description="parameters, over those of bough.toml")] = {}
    alone: Annotated[bool, msgspec.Meta(description="without the jobs that it comes after")] = False
    register: Annotated[str, msgspec.Meta(description="the model of which its output becomes a version")] = ""
    start_from: Annotated[str, msgspec.Meta(description="the job run with whose last checkpoint it begins")] = ""
    file: Annotated[str, msgspec.Meta(description="the text of a bough.toml, instead of the live release")] = ""
    bundles: dict[str, str] = {}


class ListJobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    job: Annotated[
        str, msgspec.Meta(description="one job", extra_json_schema={"x-argument": True, "x-metavar": "JOB"})
    ] = ""
    environment: Environment = PRODUCTION
    state: Annotated[
        Literal[
            "", "waiting", "building", "bringing", "queued", "running", "stopping", "ending", "succeeded", "stopped",
            "failed", "cancelled", "skipped",
        ],
        msgspec.Meta(description="only those in this state"),
    ] = ""  # fmt: skip
    all: Annotated[bool, msgspec.Meta(description="the runs of groups one by one, too")] = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50


class OneJobRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(description="the job run's id")]


class JobLogs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(description="the job run's id")]
    follow: bool = False
    lines: Annotated[int, msgspec.Meta(ge=0, le=1_000_000, description="how many of the last lines")] = 1000
    cursor: Annotated[str, msgspec.Meta(description="go on after the line that carried it")] = ""


class FollowJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(description="the job run's id")]
    cursor: str = ""


class JobCosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    days: Annotated[float, msgspec.Meta(gt=0, le=3650, description="runs that ended within so many days")] = 30.0


class CenterCost(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of leases, and those times their prices. The sums over all lines are those of the project."""

    cost_center: str
    environment: str
    job: str
    runs: int = 0
    seconds: float = 0.0
    cost: float = 0.0


class ScheduleView(msgspec.Struct, frozen=True, kw_only=True):
    """`next_at` 0: the environment's schedules are paused."""

    job: str
    schedule: str
    timezone: str
    catch_up: str
    next_at: float
    missed: int
    paused: bool


class ResizeJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(description="the job run's id")]
    processes: Annotated[int, msgspec.Meta(ge=0, le=1024, description="0: as many as there is room for")]


@operation("jobs.run", role=Role.DEVELOPER, writes=True)
def run(context: Context, request: RunJob) -> JobRunView:
    """Runs a job, and before it the jobs that it comes after; `bough train` does so with the files of a folder."""
    place = request.project, request.environment
    number, jobs = _deployed(context, place) if not request.file else _proposed(context, request)
    asked = Asked(
        project=place[0], environment=place[1], release=number, by=context.principal.name, now=context.clock.now(),
        jobs=jobs, register=request.register, start_from=request.start_from,
    )  # fmt: skip
    if request.start_from:
        elsewhere = request.job in jobs and jobs[request.job].settings.checkpoints is not None
        _check_beginning(context, request, elsewhere=elsewhere)
    declared = jobs[request.job].settings.params if request.job in jobs else {}
    params = rules.given(declared, request.params)
    made = asking.ask(context.tx, asked, request.job, params, alone=request.alone)
    asking.check_best(made)
    say(context.tx, context.events, made)
    return showing.view(made)


@operation("jobs.list", role=Role.VIEWER, command="jobs list")
def list_(context: Context, request: ListJobs) -> list[JobRunView]:
    """Lists job runs of an environment, newest first."""
    place = request.project, request.environment
    found = store.runs(context.tx, place, request.job, state=request.state, inner=request.all, limit=request.limit)
    if request.job and not found:
        showing.check_known(context, place, request.job)
    return showing.views(context, found)


@operation("jobs.show", role=Role.VIEWER)
def show(context: Context, request: OneJobRun) -> JobRunDetail:
    """Shows a job run: where it stands, and everything that happened to it, with reasons."""
    return showing.detail(context, store.get(context.tx, request.id))


@operation("jobs.objects", role=Role.VIEWER)
def objects(context: Context, request: OneJobRun) -> list[TakenObject]:
    """Lists the objects of its source that a job run has read, and no later run of its job will."""
    return taking.of(context.tx, store.get(context.tx, request.id).id)


@operation("jobs.cancel", role=Role.DEVELOPER, writes=True)
def cancel(context: Context, request: OneJobRun) -> JobRunView:
    """Ends a job run, those of its group, and what it comes after and nobody else waits for; what comes after it is
    skipped. What was saved and reported stays."""
    found = store.get(context.tx, request.id)
    by, ending = f"cancelled by {context.principal.name}", cancelling.together(context.tx, found)
    before = [each for each in ending if found.id not in (each.id, each.group)]
    also = rules.named((each.id, each.job) for each in before if not each.group)
    for each in before:
        _cancel(context, each, f"{by} with {found.job} ({found.id})")
    for each in ending:
        if each not in before:
            _cancel(context, each, f"{by}, and with it {also}" if also and each.id == found.id else by)
    return showing.view(store.get(context.tx, request.id))


@operation("jobs.retry", role=Role.DEVELOPER, writes=True)
def retry(context: Context, request: OneJobRun) -> JobRunView:
    """Takes up a job run that has failed or was cancelled: from its last checkpoint, with its budgets new.

    So is what it comes after and has not succeeded, and what was skipped because of it."""
    found = store.get(context.tx, request.id)
    if found.state not in retrying.LOST:
        said = f"{found.id} has {found.state}" if found.state == SUCCEEDED else f"{found.id} is {found.state}"
        raise Conflict(said, code="JOB_RUN_NOT_FAILED", hint=f"bough jobs show {found.id}")
    if not releases.exists(context.tx, found.place):
        raise NotFound(
            f"{found.id} ran in {'/'.join(found.place)}, which is not there any more", code="ENVIRONMENT_NOT_FOUND",
            hint=f"bough train {found.job}",
        )  # fmt: skip
    for each in retrying.together(context.tx, found):
        _take_up(context, each)
    return showing.view(store.get(context.tx, request.id))


@operation("jobs.clear", role=Role.DEVELOPER, writes=True, slow=True)
def clear(context: Context, request: OneJobRun) -> Commit[bool]:
    """Removes what an ended job run has left in folders: logs, output, checkpoints; of a group, what all of its runs
    have. Artifacts and metrics stay."""
    with context.read() as tx:
        found = store.get(tx, request.id)
        all_of = [found, *store.members(tx, found.id)]
    if going := next((each for each in all_of if not each.ended), None):
        raise Conflict(f"{going.id} is {going.state}", code="JOB_RUN_NOT_ENDED", hint=f"bough jobs cancel {going.id}")
    places = Places(context.part(Home))
    of_runs = [place for each in all_of for place in (places.folder(each.id), places.checkpoints(each.id))]
    folders = [each for each in of_runs if each.is_dir()]
    for folder in folders:
        trees.remove_tree(folder)
    return lambda context: bool(folders)


@operation("jobs.resize", role=Role.DEVELOPER, writes=True)
def resize(context: Context, request: ResizeJob) -> JobRunView:
    """Gives a data-parallel job run another number of processes, from its next checkpoint on."""
    found = store.get(context.tx, request.id)
    size = bounds(found.manifest.settings.processes)
    if found.ended:
        raise _over(found)
    if found.children:
        raise Conflict(
            f"{found.id} is a group of {found.children} runs; each of them has processes of its own",
            code="JOB_RUN_IS_GROUP", hint=f"bough jobs show {found.id} lists them",
        )  # fmt: skip
    if request.processes and not size.min <= request.processes <= size.max:
        raise Conflict(
            f"{found.job} runs with {size.min} to {size.max} processes, not with {request.processes}",
            code="SIZE_OUT_OF_BOUNDS", hint=f"processes = {{ min = {size.min}, max = {request.processes} }}",
        )  # fmt: skip
    store.update(context.tx, found.id, context.clock.now(), wanted_size=request.processes)
    store.changed(context.tx)
    return showing.view(store.get(context.tx, request.id))


@operation("jobs.schedules", role=Role.VIEWER)
def list_schedules(context: Context, request: OneEnvironment) -> list[ScheduleView]:
    """Lists the jobs that run by the clock: when each is due next, and how many slots were missed."""
    place = request.project, request.environment
    paused = releases.exists(context.tx, place) and releases.view(context.tx, place).paused
    return [
        ScheduleView(
            job=each.job, schedule=each.schedule, timezone=each.timezone, catch_up=each.catch_up, missed=each.missed,
            next_at=0.0 if paused else cron.upcoming(each.schedule, each.timezone, context.clock.now()),
            paused=paused,
        )
        for each in schedules.of(context.tx, place)
    ]  # fmt: skip


@operation("jobs.costs", role=Role.VIEWER)
def costs(context: Context, request: JobCosts) -> list[CenterCost]:
    """Says what the job runs of a project have cost, by cost centre and job."""
    found: dict[tuple[str, str, str], CenterCost] = {}
    since = context.clock.now() - request.days * 86_400
    for environment, job, manifest, cost, seconds in store.costs(context.tx, request.project, since):
        center = msgspec.json.decode(manifest, type=JobManifest).settings.cost_center
        key = center, environment, job
        known = found.get(key) or CenterCost(cost_center=center, environment=environment, job=job)
        found[key] = CenterCost(
            cost_center=center, environment=environment, job=job, runs=known.runs + 1, seconds=known.seconds + seconds,
            cost=known.cost + cost,
        )  # fmt: skip
    return [found[key] for key in sorted(found)]


@operation("jobs.logs", role=Role.VIEWER, command="jobs logs")
def logs(context: Context, request: JobLogs) -> Iterator[LogLine]:
    """Streams what a job run has printed, attempt by attempt."""
    reader = showing.Output(context, request.cursor, request.lines)
    while True:
        with context.read() as tx:
            found = store.get(tx, request.id)
        if found.children:
            raise Conflict(
                f"{found.id} is a group of {found.children} runs; each of them has its own output",
                code="JOB_RUN_IS_GROUP", hint=f"bough jobs show {found.id} lists them",
            )  # fmt: skip
        yield from reader.read(found, follow=request.follow)
        if not request.follow or found.ended:
            return
        context.pause(FOLLOW_S)


@operation("jobs.follow", role=Role.VIEWER)
def follow(context: Context, request: FollowJob) -> Iterator[JobNews]:
    """Streams a job run until it has ended: its states, what its build and its programs print, the end."""
    reader, said = showing.Output(context, request.cursor, 1_000_000), ""
    while True:
        with context.read() as tx:
            found = store.get(tx, request.id)
        news = f"{found.state}: {found.said}" != said
        said = f"{found.state}: {found.said}"
        if news and found.state in _BEGINNINGS:
            yield _state(found, reader.cursor())
        for line in reader.read(found, follow=True):
            yield JobNews(kind="log", at=context.clock.now(), id=found.id, text=line.text, cursor=line.cursor)
        if news and found.state not in _BEGINNINGS:
            yield _state(found, reader.cursor())
        if found.ended:
            yield JobNews(kind="done", at=found.finished_at, id=found.id, state=found.state, text=found.said,
                          run=showing.view(found))  # fmt: skip
            return
        context.pause(FOLLOW_S)


_BEGINNINGS = (BUILDING, RUNNING)  # what is printed follows them; what led to other states was printed before


def _state(found: JobRun, cursor: str) -> JobNews:
    return JobNews(
        kind="state", at=found.changed_at, id=found.id, state=found.state, text=found.said, cursor=cursor,
    )  # fmt: skip


def _deployed(context: Context, place: tuple[str, str]) -> tuple[int, dict[str, JobManifest]]:
    live = releases.live(context.tx, place)
    if live is None:
        raise NotFound(
            f"{'/'.join(place)} has no release whose jobs could run", code="JOBS_NOT_DEPLOYED",
            hint="bough train runs a job from its folder; bough deploy makes a release",
        )  # fmt: skip
    return live[0].number, live[1].jobs


def _proposed(context: Context, request: RunJob) -> tuple[int, dict[str, JobManifest]]:
    proposal = ProposeRelease(file=request.file, bundles=request.bundles, environment=request.environment)
    name, manifest = environments.propose(context, proposal, job=request.job)
    if name != request.project:
        raise Conflict(
            f"the file is of the project {name}, not of {request.project}", code="PROJECT_DIFFERS",
            hint=f"--project {name}",
        )  # fmt: skip
    environments.stand(context, (name, request.environment))
    return 0, manifest.jobs


def _cancel(context: Context, found: JobRun, said: str) -> None:
    now = context.clock.now()
    values: dict[str, Any] = {"said": said}
    if found.state == ENDING:
        return  # its program has ended well already
    if found.children:  # it ends with the last of its runs
        values |= {"state": STOPPING, "stopping_for": CANCEL}
    elif found.run:  # what it reports to ends with it, and the loop sees to that
        by = now + found.manifest.settings.grace_s
        values |= {"state": STOPPING, "stopping_for": CANCEL, "stop_by": min(found.stop_by or by, by)}
    else:
        values |= {"state": CANCELLED, "finished_at": now}
    _changed(context, found, **values)


def _check_beginning(context: Context, request: RunJob, *, elsewhere: bool) -> None:
    """A run that is not known may be one of another Bough, whose checkpoints are in a bucket that both use."""
    try:
        other = store.get(context.tx, request.start_from)
    except NotFound:
        if elsewhere and request.start_from.startswith(PREFIX):
            return
        raise
    beginnings.check(Places(context.part(Home)), other, request.project, elsewhere=elsewhere)


def _take_up(context: Context, found: JobRun) -> None:
    waits = _unmet(context.tx, found)
    state = RUNNING if found.children else WAITING if waits else BUILDING
    _changed(
        context, found, state=state, said=f"taken up again by {context.principal.name}", spent=Spent(), failure={},
        finished_at=0.0, not_before=0.0, stopping_for="", ends_as="", next_size=0,
    )  # fmt: skip


def _unmet(tx: sa.Connection, found: JobRun) -> bool:
    return any(each.state != SUCCEEDED for each in store.standings(tx, found.needs).values())


def _changed(context: Context, found: JobRun, **values: Any) -> None:
    store.update(context.tx, found.id, context.clock.now(), **values)
    say(context.tx, context.events, store.get(context.tx, found.id))
    store.changed(context.tx)


def _over(found: JobRun) -> Conflict:
    return Conflict(
        f"{found.id} has ended ({found.state}), and its number of processes does not change any more",
        code="JOB_RUN_ENDED", hint=f"bough jobs show {found.id}",
    )  # fmt: skip
