"""Tables of projects, environments and releases."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.environments.models import (
    ENDED,
    JOB_PREFIX,
    LIVE,
    MERGED,
    OVERTAKEN,
    PENDING,
    QUEUE_PREFIX,
    STARTING,
    SUPERSEDED,
    EnvironmentView,
    Manifest,
    MergedBranch,
    Release,
)
from bough.kernel import catalog
from bough.kernel.catalog import LAST, SERVICE, Point, Write
from bough.kernel.errors import NotFound
from bough.kernel.names import check_name, new_id
from bough.kernel.project import PRODUCTION
from bough.kernel.tables import event, metadata

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
    sa.Column("parent", sa.Text, nullable=False, server_default=sa.text("''")),  # the environment that it branched from
    sa.Column("branch", sa.Text, nullable=False, server_default=sa.text("''")),  # of git, as git has it
    sa.Column("created_by", sa.Text, nullable=False, server_default=sa.text("''")),
    sa.Column("ttl_s", sa.Float, nullable=False, server_default="0"),  # 0: stays
    sa.Column("expires_at", sa.Float, nullable=False, server_default="0"),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),  # its schedules
    sa.Column("budget", sa.Float, nullable=False, server_default="0"),  # a month; 0: none
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


def ensure_project(tx: sa.Connection, name: str, now: float) -> None:
    if not tx.execute(project.select().where(project.c.name == name)).first():
        tx.execute(project.insert().values(name=name, created_at=now))


def exists(tx: sa.Connection, place: tuple[str, str]) -> bool:
    return tx.execute(environment.select().where(*_is(*place))).first() is not None


def add_environment(
    tx: sa.Connection, place: tuple[str, str], now: float, *, by: str, parent: str = "", start: Point | None = None,
    branch: str = "", ttl_s: float = 0.0, sealed: tuple[str, ...] = (), paused: bool = False, live: str | None = None,
) -> int:  # fmt: skip
    """A new environment with a layer of its own on `start`, in which the release `live` serves; returns the layer."""
    values: dict[str, Any] = {"created_by": by, "parent": parent, "branch": branch, "ttl_s": ttl_s, "paused": paused}
    expires = now + ttl_s if ttl_s else 0.0
    values |= {"project": place[0], "name": place[1], "created_at": now, "expires_at": expires, "live": live}
    tx.execute(environment.insert(), values)
    return catalog.open_head(tx, *place, start, sealed)


def begin_production(tx: sa.Connection, place: tuple[str, str], now: float, by: str) -> None:
    """Makes production of a project that was never deployed, so that secrets, models and databases can come before the
    first release; does nothing for any other environment, or when it is there."""
    if place[1] == PRODUCTION and not exists(tx, place):
        ensure_project(tx, check_name(place[0], "project"), now)
        add_environment(tx, place, now, by=by)


def give_heads(tx: sa.Connection, now: float) -> None:
    """Environments from before there were branches get a layer, with what is live in them."""
    with_head = sa.select(catalog.head.c.environment).where(catalog.head.c.project == environment.c.project)
    rows = tx.execute(environment.select().where(environment.c.name.not_in(with_head.correlate(environment)))).all()
    for row in rows:
        catalog.open_head(tx, row.project, row.name, None)
        if row.live:
            define_services(tx, find(tx, row.live)[0], now)


def branches(tx: sa.Connection, project_name: str) -> dict[str, str]:
    """Every environment of a project, and the git branch that it stands for."""
    rows = tx.execute(sa.select(environment.c.name, environment.c.branch).where(environment.c.project == project_name))
    return {row.name: row.branch or row.name for row in rows}


def resolve(tx: sa.Connection, project_name: str, text: str) -> tuple[str, str]:
    """The environment that a person means by its name or by its git branch; raises `NotFound`."""
    there = branches(tx, project_name)
    named = [text] if text in there else [name for name, of in there.items() if of == text]
    if named:
        return project_name, named[0]
    raise NotFound(
        f"{project_name} has no environment {text!r}; it has {', '.join(sorted(there)) or 'none'}",
        code="ENVIRONMENT_NOT_FOUND", hint=f"bough branch create {text}",
    )  # fmt: skip


def view(tx: sa.Connection, place: tuple[str, str]) -> EnvironmentView:
    """One environment, as `environments` lists it."""
    row = tx.execute(_views().where(*_is(*place))).first()
    if row is None:
        raise NotFound(f"there is no {'/'.join(place)}", code="ENVIRONMENT_NOT_FOUND", hint="bough branch list")
    return _view(row)


def change_environment(tx: sa.Connection, place: tuple[str, str], **values: Any) -> None:
    tx.execute(environment.update().where(*_is(*place)).values(**values))


def prolong(tx: sa.Connection, place: tuple[str, str], now: float) -> None:
    """A time to live counts from the last deploy."""
    mine = *_is(*place), environment.c.ttl_s > 0
    tx.execute(environment.update().where(*mine).values(expires_at=now + environment.c.ttl_s))


def remove_environment(tx: sa.Connection, place: tuple[str, str]) -> None:
    """The row; its releases stay as history."""
    tx.execute(environment.delete().where(*_is(*place)))


def adopt_children(tx: sa.Connection, place: tuple[str, str], parent: str) -> None:
    mine = environment.c.project == place[0], environment.c.parent == place[1]
    tx.execute(environment.update().where(*mine).values(parent=parent))


def end_releases(tx: sa.Connection, place: tuple[str, str], now: float) -> None:
    """Nothing that was on its way comes to life any more."""
    under_way = release.c.project == place[0], release.c.environment == place[1], release.c.state.not_in(ENDED)
    tx.execute(release.update().where(*under_way).values(state=OVERTAKEN, finished_at=now))
    tx.execute(
        release.update().where(*under_way[:2], release.c.state == LIVE).values(state=SUPERSEDED, finished_at=now)
    )


def environments(tx: sa.Connection, project_name: str = "") -> list[EnvironmentView]:
    query = _views()
    if project_name:
        query = query.where(environment.c.project == project_name)
    return [_view(row) for row in tx.execute(query.order_by(environment.c.project, environment.c.name))]


def budgets(tx: sa.Connection) -> dict[tuple[str, str], float]:
    """Of the environments that have one, a month."""
    query = sa.select(environment.c.project, environment.c.name, environment.c.budget).where(environment.c.budget > 0)
    return {(row.project, row.name): float(row.budget) for row in tx.execute(query)}


def add_release(
    tx: sa.Connection, place: tuple[str, str], manifest: Manifest, digest: str, *, by: str, now: float, message: str,
    commit: str, rolled_back_to: int = 0, state: str = PENDING,
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
        state=state,
        finished_at=now if state in ENDED else 0.0,
        created_at=now,
        created_by=by,
        message=message,
        commit=commit,
        rolled_back_to=rolled_back_to,
    )
    kept = msgspec.structs.asdict(made) | {"failure": "{}", "manifest": msgspec.json.encode(manifest).decode()}
    tx.execute(release.insert(), kept)
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


def rolled_back_to(tx: sa.Connection, place: tuple[str, str], since: float) -> list[Manifest]:
    """What rollbacks have returned to, since a time."""
    same = release.c.project == place[0], release.c.environment == place[1]
    query = sa.select(release.c.manifest).where(*same, release.c.rolled_back_to != 0, release.c.created_at >= since)
    return [_manifest(each) for each in tx.execute(query).scalars()]


def releases_naming(
    tx: sa.Connection, project_name: str, *, said: str = "", commit: str = "", environment_name: str = "",
    past: bool = False, limit: int = 200,
) -> list[Release]:  # fmt: skip
    """Those whose manifest holds the text `said` (a digest, an id), that are of a commit, or of an environment, newest
    first: the ones that serve or are about to; with `past` also those that have."""
    query = release.select().where(release.c.project == project_name).order_by(release.c.created_at.desc()).limit(limit)
    query = query.where(release.c.state.in_([PENDING, STARTING, LIVE, *([SUPERSEDED] if past else [])]))
    if said:
        query = query.where(sa.func.instr(release.c.manifest, said) > 0)
    if commit:
        query = query.where(release.c.commit == commit)
    if environment_name:
        query = query.where(release.c.environment == environment_name)
    return [_release(row) for row in tx.execute(query)]


def bundles(tx: sa.Connection) -> Iterator[str]:
    """The bundles of every release: any of them may be rolled back to."""
    found: set[str] = set()
    for row in tx.execute(sa.select(release.c.manifest)):
        manifest = msgspec.json.decode(row.manifest, type=Manifest)
        found.update(each.bundle for each in manifest.services.values())
        found.update(each.bundle for each in manifest.jobs.values())
    yield from sorted(found)


def pinned(tx: sa.Connection) -> set[tuple[str, str, int]]:
    """The versions of secrets that a rollback may need, as garbage collection names entries: kind, key, change."""
    here = sa.and_(environment.c.project == release.c.project, environment.c.name == release.c.environment)
    found: set[tuple[str, str, int]] = set()
    for text in tx.execute(sa.select(release.c.manifest).join(environment, here)).scalars():
        manifest = msgspec.json.decode(text, type=Manifest)
        pins = [each.secrets for each in manifest.services.values()]
        pins += [each.secrets for each in manifest.jobs.values()]
        found.update((catalog.SECRET, name, int(pin.rpartition("@")[2])) for each in pins for name, pin in each.items())
    return found


def models(tx: sa.Connection) -> Iterator[str]:
    """The digests of the model versions of every release: any of them may be rolled back to."""
    for text in tx.execute(sa.select(release.c.manifest).where(release.c.manifest.like('%"models"%'))).scalars():
        manifest = msgspec.json.decode(text, type=Manifest)
        yield from (pin.digest for each in manifest.services.values() for pin in each.models.values())


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
    joined = sa.join(joined, release, environment.c.live == release.c.id)
    order = project.c.created_at, environment.c.project, environment.c.name
    rows = tx.execute(sa.select(release).select_from(joined).order_by(*order))
    return [(_release(row), _manifest(row.manifest)) for row in rows]


@lru_cache(maxsize=256)
def _manifest(text: str) -> Manifest:
    """Branches serve what their parent does: most live manifests are alike, and are asked for at every change."""
    return msgspec.json.decode(text, type=Manifest)


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
    define_services(tx, made, now)


def define_services(tx: sa.Connection, made: Release, now: float) -> None:
    """Writes what the live release consists of into the environment's layer, where its branches find it."""
    manifest = find(tx, made.id)[1]
    jobs = {JOB_PREFIX + name: msgspec.to_builtins(each) for name, each in manifest.jobs.items()}
    queues = {QUEUE_PREFIX + name: msgspec.to_builtins(each) for name, each in manifest.queues.items()}
    services = msgspec.to_builtins(manifest.services) | jobs | queues
    layer = catalog.layer_of(tx, made.project, made.environment)
    there = {each.key: each.value for each in catalog.items(tx, Point(layer, LAST), SERVICE)}
    changed = [name for name in sorted(services.keys() | there.keys()) if services.get(name) != there.get(name)]
    writes = [Write(SERVICE, name, services.get(name)) for name in changed]
    catalog.commit(tx, layer, writes, at=now, by=made.created_by, why=f"release {made.number}")


def _is(project_name: str, name: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return environment.c.project == project_name, environment.c.name == name


def _release(row: Any) -> Release:
    fields = {field: getattr(row, field) for field in Release.__struct_fields__}
    return Release(**fields | {"failure": msgspec.json.decode(row.failure)})


def _views() -> sa.Select[Any]:
    joined = sa.outerjoin(environment, release, environment.c.live == release.c.id)
    same = sa.and_(catalog.head.c.project == environment.c.project, catalog.head.c.environment == environment.c.name)
    query = sa.select(environment, release.c.number.label("release"), catalog.head.c.protected)
    return query.select_from(sa.join(joined, catalog.head, same))


def _view(row: Any) -> EnvironmentView:
    fields = {field: getattr(row, field) for field in EnvironmentView.__struct_fields__}
    return EnvironmentView(**fields | {"release": row.release or 0})


def merges(tx: sa.Connection, project_name: str, limit: int) -> list[MergedBranch]:
    """As their events have them; newest first."""
    inside = sa.and_(event.c.subject >= f"{project_name}/", event.c.subject < f"{project_name}0")  # "0" follows "/"
    query = event.select().where(inside, event.c.name == MERGED).order_by(event.c.seq.desc()).limit(limit)
    return [msgspec.convert({"at": row.at, **msgspec.json.decode(row.data)}, MergedBranch) for row in tx.execute(query)]
