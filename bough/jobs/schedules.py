"""Jobs that run by the clock: `schedule = "0 3 * * *"` of the live release.

One object for each scheduled job. It is due at its next slot; what it missed (the server was away, the environment was
paused) it makes up for as `catch_up` says, and says so. Two runs of one schedule never overlap: a slot whose run before
has not ended is passed over, or, where all slots are to be made up for, waits until it has.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec
import sqlalchemy as sa

from bough.environments import store as environments
from bough.environments.models import Manifest
from bough.jobs import asking, store
from bough.jobs.asking import Asked
from bough.jobs.models import MISSED, SKIPPED_SLOT
from bough.jobs.turning import say
from bough.kernel import cron
from bough.kernel.events import Event, Events
from bough.kernel.reconcile import Handler, Turn, drop, wake
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata

KIND = "job-schedule"
LATE_S = 60.0  # a slot that begins later than that was missed
MOST_MADE_UP = 100  # slots that `all` makes up for at once
PAUSED_CHECK_S = 60.0
WAITING_CHECK_S = 1.0  # while a slot waits for the run of the one before
BY = "schedule"
ALL = "all"  # of `catch_up`

log = logging.getLogger("bough.jobs")

job_schedule = sa.Table(
    "job_schedule",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("schedule", sa.Text, nullable=False),
    sa.Column("timezone", sa.Text, nullable=False),
    sa.Column("catch_up", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),  # slots up to here have been dealt with
    sa.Column("missed", sa.Integer, nullable=False),
)


class JobSchedule(msgspec.Struct, frozen=True, kw_only=True):
    project: str
    environment: str
    job: str
    schedule: str
    timezone: str
    catch_up: str
    since: float
    missed: int = 0

    @property
    def id(self) -> str:
        return f"{self.project}/{self.environment}/{self.job}"


_ROWS = Rows(JobSchedule)


class Schedules:
    def __init__(self, events: Events) -> None:
        self._events = events

    def handle(self, turn: Turn) -> float | None:
        now, place = turn.clock.now(), turn.id.split("/")
        with turn.apply() as tx:  # a release may change its clock, and somebody may pause it
            found = get(tx, place[0], place[1], place[2])
            if found is None or not environments.exists(tx, (found.project, found.environment)):
                return None
            if environments.view(tx, (found.project, found.environment)).paused:
                _dealt_with(tx, found, now, 0)
                return PAUSED_CHECK_S
            if found.since > now:  # the clock was ahead: what was dealt with then is not this day's
                _dealt_with(tx, found, now, 0)
            due = slots(found, now)
            if due and self._run(tx, found, due, now):
                return WAITING_CHECK_S
        return max(cron.upcoming(found.schedule, found.timezone, now) - now, 0.05)

    def _run(self, tx: sa.Connection, found: JobSchedule, due: list[float], now: float) -> bool:
        """Deals with the slots that are due; True when some wait for the end of a run."""
        begun, there = store.under_way(tx, (found.project, found.environment), found.job), len(due)
        if found.catch_up == ALL:
            due = [] if begun else due[:1]
        late = [slot for slot in due if now - slot > LATE_S]
        wanted = chosen(due, late, found.catch_up)
        for slot in late:
            made_up = "made up for now" if slot in wanted else "not made up for"
            self._say(tx, MISSED, found, slot, f"began {now - slot:.0f} s late or not at all; {made_up}")
        for slot in wanted:
            if begun:
                self._say(tx, SKIPPED_SLOT, found, slot, "the run of the slot before has not ended")
                continue
            begun = self._begin(tx, found, slot, now) or begun
        if due:
            _dealt_with(tx, found, due[-1], len(late))
        return len(due) < there

    def _begin(self, tx: sa.Connection, found: JobSchedule, slot: float, now: float) -> bool:
        live = environments.live(tx, (found.project, found.environment))
        if live is None or found.job not in live[1].jobs:
            return False
        asked = Asked(
            project=found.project, environment=found.environment, release=live[0].number, by=BY, now=now,
            jobs=live[1].jobs, slot=slot,
        )  # fmt: skip
        say(tx, self._events, asking.ask(tx, asked, found.job, {}))
        return True

    def _say(self, tx: sa.Connection, name: str, found: JobSchedule, slot: float, said: str) -> None:
        where = {"project": found.project, "environment": found.environment, "job": found.job}
        if name == MISSED:
            log.warning("%s: the slot of %s was missed: %s", found.id, _shown(slot), said)
        self._events.emit(tx, name, found.id, **where, slot=slot, said=f"{_shown(slot)}: {said}")


def handler(events: Events) -> Handler:
    return Schedules(events).handle


def get(tx: sa.Connection, project: str, environment: str, job: str) -> JobSchedule | None:
    row = tx.execute(job_schedule.select().where(*_is(project, environment, job))).first()
    return _ROWS.struct(row) if row else None


def of(tx: sa.Connection, place: tuple[str, str]) -> list[JobSchedule]:
    same = job_schedule.c.project == place[0], job_schedule.c.environment == place[1]
    return [_ROWS.struct(row) for row in tx.execute(job_schedule.select().where(*same).order_by(job_schedule.c.job))]


def on_live(tx: sa.Connection, event: Event) -> None:
    """The schedules of an environment are those of its live release, from now on."""
    release, manifest = environments.find(tx, event.subject)
    _follow(tx, (release.project, release.environment), manifest, event.at)


def on_branched(tx: sa.Connection, event: Event) -> None:
    """A branch has its parent's jobs, and is paused until somebody wants their schedules."""
    if event.data.get("release"):
        release, manifest = environments.find(tx, str(event.data["release"]))
        _follow(tx, (release.project, release.environment), manifest, event.at)


def on_discarded(tx: sa.Connection, event: Event) -> None:
    place = str(event.data["project"]), str(event.data["environment"])
    for each in of(tx, place):
        tx.execute(job_schedule.delete().where(*_is(*place, each.job)))
        drop(tx, KIND, each.id)


def slots(found: JobSchedule, now: float) -> list[float]:
    """Those after `since`, up to now; of very many the latest."""
    due: list[float] = []
    at = cron.upcoming(found.schedule, found.timezone, found.since)
    while at <= now:
        due = [*due[-MOST_MADE_UP:], at]
        at = cron.upcoming(found.schedule, found.timezone, at)
    return due


def chosen(due: list[float], late: list[float], catch_up: str) -> list[float]:
    """Which of the slots that are due are run."""
    punctual = [slot for slot in due if slot not in late]
    if catch_up == ALL:
        return due
    if catch_up == "latest" and late and not punctual:
        return late[-1:]
    return punctual[-1:]


def _follow(tx: sa.Connection, place: tuple[str, str], manifest: Manifest, now: float) -> None:
    wanted = {name: job.settings for name, job in manifest.jobs.items() if job.settings.schedule}
    there = {each.job: each for each in of(tx, place)}
    for name in there.keys() - wanted.keys():
        tx.execute(job_schedule.delete().where(*_is(*place, name)))
        drop(tx, KIND, there[name].id)
    for name, settings in wanted.items():
        known = there.get(name)
        made = JobSchedule(
            project=place[0], environment=place[1], job=name, schedule=settings.schedule, timezone=settings.timezone,
            catch_up=settings.catch_up, since=known.since if known else now, missed=known.missed if known else 0,
        )  # fmt: skip
        if known and (known.schedule, known.timezone) != (made.schedule, made.timezone):
            made = msgspec.structs.replace(made, since=now)  # slots of another clock were never promised
        if known:
            tx.execute(job_schedule.update().where(*_is(*place, name)).values(**_ROWS.row(made)))
        else:
            tx.execute(job_schedule.insert(), _ROWS.row(made))
        wake(tx, KIND, made.id)


def _dealt_with(tx: sa.Connection, found: JobSchedule, since: float, missed: int) -> None:
    values = {"since": since, "missed": job_schedule.c.missed + missed}
    tx.execute(job_schedule.update().where(*_is(found.project, found.environment, found.job)).values(**values))


def _is(project: str, environment: str, job: str) -> tuple[sa.ColumnElement[bool], ...]:
    return job_schedule.c.project == project, job_schedule.c.environment == environment, job_schedule.c.job == job


def _shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
