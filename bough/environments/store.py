"""Tables of projects, environments and releases."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from bough.environments.models import ENDED, LIVE, PENDING, SUPERSEDED, EnvironmentView, Manifest, Release
from bough.kernel.errors import NotFound
from bough.kernel.names import new_id
from bough.kernel.tables import metadata

project = sa.Table(
    "project",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False),
)

environment = sa.Table(
    "environment",
    metadata,
    sa.Column("project", sa.Text, sa.ForeignKey("project.name"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("live", sa.Text),  # id of the release that serves
)

release = sa.Table(
    "release",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("manifest", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("commit", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("finished_at", sa.Float, nullable=False),
    sa.Column("rolled_back_to", sa.Integer, nullable=False),
    sa.Column("failure", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "environment", "number"),
)


def ensure_environment(tx: sa.Connection, project_name: str, name: str, now: float) -> None:
    if not tx.execute(project.select().where(project.c.name == project_name)).first():
        tx.execute(project.insert().values(name=project_name, created_at=now))
    if not tx.execute(environment.select().where(*_is(project_name, name))).first():
        tx.execute(environment.insert().values(project=project_name, name=name, created_at=now))


def environments(tx: sa.Connection, project_name: str = "") -> list[EnvironmentView]:
    joined = sa.outerjoin(environment, release, environment.c.live == release.c.id)
    query = sa.select(environment, release.c.number.label("release")).select_from(joined)
    if project_name:
        query = query.where(environment.c.project == project_name)
    rows = tx.execute(query.order_by(environment.c.project, environment.c.name))
    return [
        EnvironmentView(project=row.project, name=row.name, created_at=row.created_at, release=row.release or 0)
        for row in rows
    ]


def add_release(
    tx: sa.Connection, place: tuple[str, str], manifest: Manifest, digest: str, *, by: str, now: float, message: str,
    commit: str, rolled_back_to: int = 0,
) -> Release:  # fmt: skip
    highest = sa.select(sa.func.max(release.c.number)).where(
        release.c.project == place[0], release.c.environment == place[1]
    )
    made = Release(
        id=new_id("rel"),
        project=place[0],
        environment=place[1],
        number=(tx.execute(highest).scalar() or 0) + 1,
        digest=digest,
        state=PENDING,
        created_at=now,
        created_by=by,
        message=message,
        commit=commit,
        rolled_back_to=rolled_back_to,
    )
    kept = msgspec.structs.asdict(made) | {"failure": "{}", "manifest": msgspec.json.encode(manifest).decode()}
    tx.execute(release.insert().values(**kept))
    return made


def find(tx: sa.Connection, id: str) -> tuple[Release, Manifest]:
    row = tx.execute(release.select().where(release.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no release {id!r}", code="RELEASE_NOT_FOUND", hint="bough releases")
    return _release(row), msgspec.json.decode(row.manifest, type=Manifest)


def find_number(tx: sa.Connection, place: tuple[str, str], number: int) -> tuple[Release, Manifest]:
    same = release.c.project == place[0], release.c.environment == place[1], release.c.number == number
    row = tx.execute(release.select().where(*same)).first()
    if row is None:
        raise NotFound(
            f"{place[0]}/{place[1]} has no release {number}",
            code="RELEASE_NOT_FOUND",
            hint=f"bough releases --project {place[0]}",
        )
    return _release(row), msgspec.json.decode(row.manifest, type=Manifest)


def releases(tx: sa.Connection, place: tuple[str, str], limit: int = 50) -> list[Release]:
    """Newest first."""
    same = release.c.project == place[0], release.c.environment == place[1]
    rows = tx.execute(release.select().where(*same).order_by(release.c.number.desc()).limit(limit))
    return [_release(row) for row in rows]


def newest(tx: sa.Connection, place: tuple[str, str]) -> tuple[Release, Manifest] | None:
    found = releases(tx, place, 1)
    return find(tx, found[0].id) if found else None


def live(tx: sa.Connection, place: tuple[str, str]) -> tuple[Release, Manifest] | None:
    """The release that serves in an environment."""
    id = tx.execute(sa.select(environment.c.live).where(*_is(*place))).scalar()
    return find(tx, id) if id else None


def all_live(tx: sa.Connection) -> list[tuple[Release, Manifest]]:
    """Those of older projects first."""
    joined = sa.join(environment, project, environment.c.project == project.c.name)
    ids = tx.execute(
        sa.select(environment.c.live)
        .select_from(joined)
        .where(environment.c.live.is_not(None))
        .order_by(project.c.created_at, environment.c.project, environment.c.name)
    ).scalars()
    return [find(tx, id) for id in ids]


def set_state(tx: sa.Connection, id: str, state: str, now: float, failure: dict[str, Any] | None = None) -> None:
    finished = now if state in ENDED else 0.0
    kept = msgspec.json.encode(failure or {}).decode()
    tx.execute(release.update().where(release.c.id == id).values(state=state, finished_at=finished, failure=kept))


def set_live(tx: sa.Connection, made: Release, now: float) -> None:
    """`made` serves from now on; the one before it is superseded."""
    place = made.project, made.environment
    if (before := live(tx, place)) and before[0].id != made.id:
        tx.execute(release.update().where(release.c.id == before[0].id).values(state=SUPERSEDED))
    tx.execute(environment.update().where(*_is(*place)).values(live=made.id))
    set_state(tx, made.id, LIVE, now)


def _is(project_name: str, name: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return environment.c.project == project_name, environment.c.name == name


def _release(row: Any) -> Release:
    fields = {field: getattr(row, field) for field in Release.__struct_fields__}
    return Release(**fields | {"failure": msgspec.json.decode(row.failure)})
