"""The tables of job runs and of schedules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from bough.environments.models import JobManifest
from bough.jobs import rules
from bough.jobs.models import ACTIVE, ALL, CANCEL, CANCELLED, ENDING, KIND, SKIPPED, STOPPING, JobRun
from bough.kernel import catalog
from bough.kernel.errors import NotFound
from bough.kernel.events import Event
from bough.kernel.reconcile import Still, wake
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata

job_run = sa.Table(
    "job_run",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("release", sa.Integer, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("said", sa.Text, nullable=False),
    sa.Column("manifest", sa.Text, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("register", sa.Text, nullable=False),
    sa.Column("start_from", sa.Text, nullable=False, server_default=sa.text("''")),
    sa.Column("group", sa.Text, nullable=False, index=True),
    sa.Column("index", sa.Integer, nullable=False),
    sa.Column("children", sa.Integer, nullable=False),
    sa.Column("needs", sa.Text, nullable=False),
    sa.Column("slot", sa.Float, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float, nullable=False, index=True),  # 0: not ended
    sa.Column("not_before", sa.Float, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("attempt_at", sa.Float, nullable=False),
    sa.Column("under_way", sa.Integer, nullable=False, server_default="0"),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("wanted_size", sa.Integer, nullable=False),
    sa.Column("next_size", sa.Integer, nullable=False, server_default="0"),
    sa.Column("gave_back", sa.Integer, nullable=False, server_default="0"),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("devices", sa.Text, nullable=False),
    sa.Column("stopping_for", sa.Text, nullable=False),
    sa.Column("stop_by", sa.Float, nullable=False),
    sa.Column("ends_as", sa.Text, nullable=False),
    sa.Column("seen", sa.Integer, nullable=False),
    sa.Column("spent", sa.Text, nullable=False),
    sa.Column("build", sa.Text, nullable=False),
    sa.Column("lease", sa.Text, nullable=False),
    sa.Column("price_per_h", sa.Float, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("cost", sa.Float, nullable=False),
    sa.Column("occupied_s", sa.Float, nullable=False, server_default="0"),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("failure", sa.Text, nullable=False),
    sa.Column("changes", sa.Integer, nullable=False, server_default="0"),  # counts updates
    sa.Index("ix_job_run_place", "project", "environment", "job", "id"),
)
_AT_ONCE = 500  # parameters of one statement
_ACTIVE = sa.select(job_run.c.id, job_run.c.changes).where(job_run.c.finished_at == 0).order_by(job_run.c.id)
# Built once, for their building costs more than their running; the columns are those that are given a value.
_UPDATE = job_run.update().where(job_run.c.id == sa.bindparam("at_id")).values(changes=job_run.c.changes + 1)
_UPDATE_KNOWN = _UPDATE.where(job_run.c.changes == sa.bindparam("known"))
_ROWS = Rows(JobRun, "manifest", "params", "needs", "devices", "spent", "build", "lease", "failure")


def add(tx: sa.Connection, made: Sequence[JobRun]) -> None:
    tx.execute(job_run.insert(), [_ROWS.row(each) for each in made])
    changed(tx)


def changed(tx: sa.Connection, at: float = 0.0) -> None:
    """Whoever looks after job runs looks again."""
    wake(tx, KIND, ALL, at=at)


def get(tx: sa.Connection, id: str) -> JobRun:
    row = tx.execute(job_run.select().where(job_run.c.id == id)).first()
    if row is None:
        of_job = "" if id.startswith("jr_") else f" {id}"  # whoever gives a job's name means one of its runs
        raise NotFound(f"there is no job run {id!r}", code="JOB_RUN_NOT_FOUND", hint=f"bough jobs list{of_job}")
    return _ROWS.struct(row)


def stands(read: JobRun) -> Still:
    """Whether it is in the state in which it was read: nobody has ended it meanwhile."""
    return lambda tx: get(tx, read.id).state == read.state


def update(tx: sa.Connection, id: str, now: float, *, known: int | None = None, **values: Any) -> bool:
    """`known`: the count of updates that the change was decided on; False, and nothing happens, when there were others
    since."""
    written = _ROWS.columns(**values) | {"changed_at": now, "at_id": id}
    if known is not None:
        return tx.execute(_UPDATE_KNOWN, written | {"known": known}).rowcount == 1
    return tx.execute(_UPDATE, written).rowcount == 1


class Active:
    """All job runs that have not ended, the oldest first. What has not changed is not read again: thousands may wait
    while a few run."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, JobRun]] = {}

    def read(self, tx: sa.Connection) -> list[JobRun]:
        now = {row.id: row.changes for row in tx.execute(_ACTIVE)}
        fresh = [id for id, changes in now.items() if id not in self._known or self._known[id][0] != changes]
        self._known = {id: known for id, known in self._known.items() if id in now}
        for at in range(0, len(fresh), _AT_ONCE):
            for row in tx.execute(job_run.select().where(job_run.c.id.in_(fresh[at : at + _AT_ONCE]))):
                self._known[row.id] = row.changes, _ROWS.struct(row)
        return [self._known[id][1] for id in now]

    def changes(self, id: str) -> int:
        """How often it had been updated when it was read."""
        return self._known[id][0]


class Standing(NamedTuple):
    """Of a run that another comes after."""

    job: str
    state: str
    said: str


def standings(tx: sa.Connection, ids: Iterable[str]) -> dict[str, Standing]:
    columns = job_run.c.id, job_run.c.job, job_run.c.state, job_run.c.said
    query = sa.select(*columns).where(job_run.c.id.in_(sorted(ids)))
    return {row.id: Standing(row.job, row.state, row.said) for row in tx.execute(query)}


def several(tx: sa.Connection, ids: Iterable[str]) -> list[JobRun]:
    """Those of them that are there, the oldest first."""
    query = job_run.select().where(job_run.c.id.in_(sorted(ids))).order_by(job_run.c.id)
    return [_ROWS.struct(row) for row in tx.execute(query)]


def skipped_after(tx: sa.Connection, run: JobRun) -> list[JobRun]:
    """What came directly after it and was skipped."""
    query = job_run.select().where(_comes_after(run), job_run.c.state == SKIPPED)
    return [_ROWS.struct(row) for row in tx.execute(query.order_by(job_run.c.id))]


def waiting_for(tx: sa.Connection, run: JobRun) -> list[str]:
    """Ids of what comes directly after it and has not ended."""
    query = sa.select(job_run.c.id).where(_comes_after(run), job_run.c.finished_at == 0)
    return list(tx.execute(query.order_by(job_run.c.id)).scalars())


def _comes_after(run: JobRun) -> sa.ColumnElement[bool]:
    return sa.and_(
        job_run.c.project == run.project, job_run.c.environment == run.environment,
        job_run.c.needs.contains(f'"{run.id}"'),
    )  # fmt: skip


def names(tx: sa.Connection, place: tuple[str, str]) -> set[str]:
    """Of the jobs of which there are runs."""
    query = sa.select(job_run.c.job).where(job_run.c.project == place[0], job_run.c.environment == place[1])
    return set(tx.execute(query.distinct()).scalars())


def members(tx: sa.Connection, group: str) -> list[JobRun]:
    query = job_run.select().where(job_run.c.group == group).order_by(job_run.c.index, job_run.c.id)
    return [_ROWS.struct(row) for row in tx.execute(query)]


def of_tracked(tx: sa.Connection, run: str) -> JobRun | None:
    """The one of which this tracked run is kept and whose output is registered: of a sweep, the group."""
    query = job_run.select().where(job_run.c.run == run, job_run.c.register != "").order_by(job_run.c.id)
    row = tx.execute(query.limit(1)).first()
    return _ROWS.struct(row) if row is not None else None


def runs(
    tx: sa.Connection, place: tuple[str, str], job: str = "", *, state: str = "", inner: bool = False, limit: int = 50
) -> list[JobRun]:
    """Newest first; without the members of groups unless `inner`."""
    query = job_run.select().where(job_run.c.project == place[0], job_run.c.environment == place[1])
    if job:
        query = query.where(job_run.c.job == job)
    if state:
        query = query.where(job_run.c.state == state)
    if not inner:
        query = query.where(job_run.c.group == "")
    return [_ROWS.struct(row) for row in tx.execute(query.order_by(job_run.c.id.desc()).limit(limit))]


def under_way(tx: sa.Connection, place: tuple[str, str], job: str) -> bool:
    """Whether a run of this job that its schedule began has not ended."""
    query = sa.select(job_run.c.id).where(
        job_run.c.project == place[0], job_run.c.environment == place[1], job_run.c.job == job,
        job_run.c.state.in_(ACTIVE), job_run.c.slot > 0,
    )  # fmt: skip
    return tx.execute(query.limit(1)).first() is not None


def shares(tx: sa.Connection, now: float) -> dict[str, float]:
    """Seconds of the whole machine that runs occupied lately whose programs are over, by queue."""
    found, since = dict[str, float](), now - rules.SHARE_S
    columns = job_run.c.manifest, job_run.c.occupied_s, job_run.c.seconds, job_run.c.finished_at
    query = sa.select(*columns).where(
        sa.or_(job_run.c.finished_at >= since, sa.and_(job_run.c.finished_at == 0, job_run.c.state == ENDING)),
        job_run.c.occupied_s > 0,
    )
    for manifest, occupied_s, seconds, finished_at in tx.execute(query):
        queue = msgspec.json.decode(manifest, type=JobManifest).settings.queue
        had_s = rules.lately(occupied_s, seconds, (finished_at or now) - since)
        found[queue] = found.get(queue, 0.0) + had_s
    return found


def ended_before(tx: sa.Connection, ids: Iterable[str], moment: float) -> list[str]:
    """Of these runs, those that ended before then."""
    wanted, found = sorted(set(ids)), list[str]()
    for at in range(0, len(wanted), _AT_ONCE):
        query = sa.select(job_run.c.id).where(
            job_run.c.id.in_(wanted[at : at + _AT_ONCE]), job_run.c.finished_at > 0, job_run.c.finished_at < moment
        )
        found += tx.execute(query).scalars()
    return found


def costs(tx: sa.Connection, project: str, since: float) -> list[Any]:
    """Manifest, cost and seconds of every run of a project that ended since then, or has not ended."""
    columns = job_run.c.environment, job_run.c.job, job_run.c.manifest, job_run.c.cost, job_run.c.seconds
    query = sa.select(*columns).where(
        job_run.c.project == project, job_run.c.children == 0,
        sa.or_(job_run.c.finished_at == 0, job_run.c.finished_at >= since),
    )  # fmt: skip
    return list(tx.execute(query))


def bundles(tx: sa.Connection) -> Iterator[str]:
    """What active runs were given, and what ended ones are tried again with."""
    for text in tx.execute(sa.select(job_run.c.manifest)).scalars():
        yield msgspec.json.decode(text, type=JobManifest).bundle


def pinned(tx: sa.Connection) -> set[tuple[str, str, int]]:
    """The versions of secrets that active runs have, as garbage collection names entries."""
    found: set[tuple[str, str, int]] = set()
    for text in tx.execute(sa.select(job_run.c.manifest).where(job_run.c.finished_at == 0)).scalars():
        pins = msgspec.json.decode(text, type=JobManifest).secrets
        found.update((catalog.SECRET, name, int(pin.rpartition("@")[2])) for name, pin in pins.items())
    return found


def on_discarded(tx: sa.Connection, event: Event) -> None:
    """An environment is gone, and what runs for it ends."""
    place = str(event.data["project"]), str(event.data["environment"])
    said = "its environment was discarded"
    for run in runs(tx, place, inner=True, limit=100_000):
        if run.ended:
            continue
        if run.run and not run.children:
            update(tx, run.id, event.at, state=STOPPING, stopping_for=CANCEL, stop_by=event.at, said=said)
        else:
            update(tx, run.id, event.at, state=CANCELLED, finished_at=event.at, said=said)
    changed(tx)
