"""From a job that was asked for to the job runs that make it so: what it comes after first, a sweep as a group."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from bough.environments.models import JobManifest
from bough.jobs import rules, store
from bough.jobs.models import BUILDING, QUEUED, WAITING, JobRun
from bough.kernel import catalog
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.jobs import Value, order
from bough.kernel.names import new_id


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of one request have in common."""

    project: str
    environment: str
    release: int
    by: str
    now: float
    jobs: Mapping[str, JobManifest]
    register: str = ""
    start_from: str = ""
    slot: float = 0.0


def ask(tx: sa.Connection, asked: Asked, job: str, params: Mapping[str, Value], *, alone: bool = False) -> JobRun:
    """Adds the runs; the one of the job itself. `alone`: without the jobs that it comes after."""
    if job not in asked.jobs:
        known = ", ".join(sorted(asked.jobs)) or "none"
        raise NotFound(
            f"{asked.project}/{asked.environment} has no job {job!r}; it has {known}", code="JOB_NOT_FOUND",
            hint=f"add [jobs.{job}] to bough.toml",
        )  # fmt: skip
    seen = catalog.newest(tx)
    made: list[JobRun] = []
    known_ids: dict[str, str] = {}
    after = {name: each.settings.after for name, each in asked.jobs.items()}
    for name in [job] if alone else order(after, job):
        needs = {} if alone else {known_ids[before]: before for before in asked.jobs[name].settings.after}
        given = dict(asked.jobs[name].settings.params) | (dict(params) if name == job else {})
        own = asked if name == job else msgspec.structs.replace(asked, register="", start_from="")
        runs = _runs(own, name, given, needs, seen)
        known_ids[name] = runs[0].id
        made += runs
    store.add(tx, made)
    return next(each for each in made if each.id == known_ids[job])


def check_best(made: JobRun) -> None:
    """Raises `Invalid` where one of several runs is to be registered, and nothing says which."""
    if made.children and made.register and not made.manifest.settings.sweep.metric:
        raise Invalid(
            f"{made.job} is {made.children} runs, and nothing says which of them becomes a version of {made.register}",
            code="METRIC_MISSING", hint=f'[jobs.{made.job}.sweep] metric = "loss", goal = "min"',
        )  # fmt: skip


def _runs(asked: Asked, name: str, params: dict[str, Value], needs: Mapping[str, str], seen: int) -> list[JobRun]:
    """`needs`: ids of the runs that must have succeeded, and of which job each is."""
    manifest = asked.jobs[name]
    settings = manifest.settings
    state, said = (WAITING, rules.waits_for(needs.items())) if needs else (BUILDING, "builds")
    first = JobRun(
        id=new_id("jr"), project=asked.project, environment=asked.environment, job=name, release=asked.release,
        by=asked.by, state=state, said=said, manifest=manifest, params=params, needs=list(needs), slot=asked.slot,
        register=asked.register or settings.register, start_from=asked.start_from,
        created_at=asked.now, changed_at=asked.now, seen=seen,
    )  # fmt: skip
    members = rules.children(settings.sweep, settings.array)
    if not members:
        return [first]
    group = msgspec.structs.replace(first, children=len(members), state=QUEUED, said=f"{len(members)} runs", needs=[])
    return [
        group,
        *(
            msgspec.structs.replace(first, id=new_id("jr"), group=group.id, index=at, params=params | own, register="")
            for at, own in enumerate(members)
        ),
    ]
