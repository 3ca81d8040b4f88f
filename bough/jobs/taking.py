"""Which objects of buckets the runs of a job have taken: each goes to one run that does not fail.

What a run that has failed or was cancelled took is free for the next one. Somebody who writes a key again makes another
object of it: it has another etag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from bough.adapters.connectors import Found
from bough.jobs.models import ACTIVE, SUCCEEDED, JobRun, TakenObject
from bough.jobs.store import job_run
from bough.kernel.buckets import Objects
from bough.kernel.events import Event
from bough.kernel.tables import metadata
from bough.tracking.models import RunInput

job_object = sa.Table(
    "job_object",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("bucket", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("etag", sa.Text, primary_key=True),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("run", sa.Text, nullable=False, index=True),
)
_AT_ONCE = 500  # parameters of one statement
_NEW = insert(job_object)
_FREE = _NEW.on_conflict_do_update(
    index_elements=list(job_object.primary_key), set_={"run": _NEW.excluded.run, "size": _NEW.excluded.size}
)


def take(tx: sa.Connection, run: JobRun, bucket: str, listed: Sequence[Found]) -> None:
    """Gives a run those of them that no other has, and that none has had until its end."""
    if rows := [_row(run, bucket, each) for each in free(tx, run, bucket, listed)]:
        tx.execute(_FREE, rows)


def free(tx: sa.Connection, run: JobRun, bucket: str, listed: Sequence[Found]) -> list[Found]:
    """Those that `take` would give it."""
    found = list[Found]()
    for at in range(0, len(listed), _AT_ONCE):
        page = listed[at : at + _AT_ONCE]
        had = _had(tx, run, bucket, [each.key for each in page])
        found += [each for each in page if (each.key, each.etag) not in had]
    return found


def replace(tx: sa.Connection, run: JobRun, bucket: str, before: TakenObject, now: Found | None) -> None:
    """What was listed is gone, or another object by the time it was read."""
    mine = (job_object.c.run == run.id, job_object.c.key == before.key, job_object.c.etag == before.etag)
    tx.execute(job_object.delete().where(*mine))
    if now is not None:
        take(tx, run, bucket, [now])


def of(tx: sa.Connection, run: str) -> list[TakenObject]:
    """In the order of their keys."""
    columns = job_object.c.bucket, job_object.c.key, job_object.c.etag, job_object.c.size
    query = sa.select(*columns).where(job_object.c.run == run).order_by(job_object.c.key)
    return [TakenObject(bucket=row.bucket, key=row.key, etag=row.etag, size=row.size) for row in tx.execute(query)]


def on_discarded(tx: sa.Connection, event: Event) -> None:
    """An environment is gone; one of the same name begins with nothing taken."""
    project, environment = str(event.data["project"]), str(event.data["environment"])
    tx.execute(job_object.delete().where(job_object.c.project == project, job_object.c.environment == environment))


def as_input(source: Objects, taken: Sequence[TakenObject]) -> RunInput:
    """What a tracked run says that it has read: its version tells one set of objects from the next."""
    digest = hashlib.sha256()
    for each in taken:
        digest.update(msgspec.json.encode([each.bucket, each.key, each.etag]))
    told = {"objects": len(taken), "bytes": sum(each.size for each in taken)}
    return RunInput(
        kind="outside", name=source.url, version=digest.hexdigest()[:32], source=source.url, source_type="s3",
        profile=msgspec.json.encode(told).decode(),
    )  # fmt: skip


def words(taken: Sequence[TakenObject], url: str) -> str:
    plural = "object" if len(taken) == 1 else "objects"
    return f"{len(taken):,} {plural}, {sum(each.size for each in taken) / 1e6:,.1f} MB, of {url}"


def _had(tx: sa.Connection, run: JobRun, bucket: str, keys: list[str]) -> set[tuple[str, str]]:
    query = (
        sa.select(job_object.c.key, job_object.c.etag)
        .join(job_run, job_run.c.id == job_object.c.run)
        .where(
            job_object.c.project == run.project, job_object.c.environment == run.environment,
            job_object.c.job == run.job, job_object.c.bucket == bucket, job_object.c.key.in_(keys),
            job_run.c.id != run.id, job_run.c.state.in_((*ACTIVE, SUCCEEDED)),
        )
    )  # fmt: skip
    return {(row.key, row.etag) for row in tx.execute(query)}


def _row(run: JobRun, bucket: str, found: Found) -> dict[str, object]:
    return {
        "project": run.project, "environment": run.environment, "job": run.job, "bucket": bucket, "key": found.key,
        "etag": found.etag, "size": found.size, "run": run.id,
    }  # fmt: skip
