"""The table of deployments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.environments.models import ModelPin, Release, ServiceManifest
from bough.kernel.errors import NotFound
from bough.kernel.names import new_id
from bough.kernel.reconcile import Still, drop, renew, wake
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata
from bough.serving.models import ASLEEP, BUILDING, DRAINING, FAILED, READY, STARTING, STOPPED, Deployment, Share

KIND = "deployment"
DIVIDED = "requests.divided"  # the event that shares have changed

deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("bundle", sa.Text, nullable=False),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("release", sa.Integer, nullable=False),  # the latest release that uses it
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("build", sa.Text, nullable=False),
    sa.Column("signature", sa.Text, nullable=False),
    sa.Column("failure", sa.Text, nullable=False),
    sa.Column("crashes", sa.Integer, nullable=False),
    sa.Column("drained", sa.Boolean, nullable=False),
    sa.Column("secrets", sa.Text, nullable=False, server_default="{}"),  # the versions that it runs with
    sa.Column("models", sa.Text, nullable=False, server_default="{}"),  # the versions that it loads
    sa.Column("active", sa.Integer, nullable=False, server_default="0"),
    sa.Column("pool", sa.Integer, nullable=False, server_default="0"),
    sa.Column("scaled_at", sa.Float, nullable=False, server_default="0"),
    sa.Column("awake_s", sa.Float, nullable=False, server_default="0"),
    sa.UniqueConstraint("project", "environment", "service", "digest"),
)
# Deployments beside the live one that get a share of a service's requests, or copies of them.
share = sa.Table(
    "share",
    metadata,
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),  # in metrics
    sa.Column("percent", sa.Float, nullable=False),
    sa.Column("copies", sa.Boolean, nullable=False),
    sa.Column("sticky", sa.Text, nullable=False),
)
_ROWS = Rows(
    Deployment, "settings", "build", "signature", "failure", "secrets", "models",
    shared=("settings", "build", "signature"),
)  # fmt: skip


def _most_alive() -> sa.Select[Any]:
    same = deployment.c.project == sa.bindparam("of_project"), deployment.c.digest == sa.bindparam("of_digest")
    order = (READY, ASLEEP, STARTING, DRAINING, STOPPED, FAILED)
    worth = sa.case({state: place for place, state in enumerate(order)}, value=deployment.c.state, else_=len(order))
    return deployment.select().where(*same, deployment.c.build != "null").order_by(worth).limit(1)


_BUILT = _most_alive()  # part of every branch, so built once
_STATE = sa.select(deployment.c.state).where(deployment.c.id == sa.bindparam("of_id"))


def get(tx: sa.Connection, id: str) -> Deployment | None:
    row = tx.execute(deployment.select().where(deployment.c.id == id)).first()
    return _ROWS.struct(row) if row else None


def stands(read: Deployment) -> Still:
    """Whether it is in the state in which it was read: nobody has drained it, or taken it back, meanwhile."""
    return lambda tx: tx.execute(_STATE, {"of_id": read.id}).scalar() == read.state


def of_service(tx: sa.Connection, place: tuple[str, str], service: str, digest: str) -> Deployment | None:
    same = (
        deployment.c.project == place[0],
        deployment.c.environment == place[1],
        deployment.c.service == service,
        deployment.c.digest == digest,
    )
    row = tx.execute(deployment.select().where(*same)).first()
    return _ROWS.struct(row) if row else None


def in_environment(tx: sa.Connection, place: tuple[str, str], *, ended: bool = False) -> list[Deployment]:
    """Oldest first; with `ended` also those that have stopped, whose logs may still be there."""
    query = deployment.select().where(deployment.c.project == place[0], deployment.c.environment == place[1])
    if not ended:
        query = query.where(deployment.c.state != STOPPED)
    return [_ROWS.struct(row) for row in tx.execute(query.order_by(deployment.c.created_at))]


def in_state(tx: sa.Connection, *states: str) -> list[Deployment]:
    return [_ROWS.same(row) for row in tx.execute(deployment.select().where(deployment.c.state.in_(states)))]


def built(tx: sa.Connection, project: str, digest: str) -> Deployment | None:
    """A deployment of this digest in any environment whose build can be used, the most alive first."""
    row = tx.execute(_BUILT, {"of_project": project, "of_digest": digest}).first()
    return _ROWS.struct(row) if row else None


def ensure(tx: sa.Connection, made: Release, service: str, manifest: ServiceManifest, now: float, **begin: Any) -> None:
    """Makes sure of a service of a release: its deployment is the one that is there, with the release's settings, or a
    new one. One that had failed, drained or stopped begins again. `begin`: fields of one that begins, in place of the
    usual."""
    found = of_service(tx, (made.project, made.environment), service, manifest.digest)
    if found is None:
        id = new_id("dep")
        values = {
            "id": id,
            "project": made.project,
            "environment": made.environment,
            "service": service,
            "digest": manifest.digest,
            "bundle": manifest.bundle,
            "created_at": now,
            "crashes": 0,
        }
        usual = {"state": BUILDING, "failure": {}, "drained": False, "build": None, "signature": None}
        fresh = _ROWS.columns(
            settings=manifest.settings, secrets=manifest.secrets, models=manifest.models, **usual | begin
        )
        tx.execute(deployment.insert(), values | fresh | {"release": made.number, "changed_at": now})
    else:
        id = found.id
        changes: dict[str, Any] = {"settings": manifest.settings, "release": made.number}
        if found.state in (FAILED, DRAINING, STOPPED):
            changes |= {"state": BUILDING, "failure": {}, "drained": False, "crashes": 0} | begin
            renew(tx, KIND, id)
        change(tx, id, now, **changes)
    wake(tx, KIND, id)


def bundles(tx: sa.Connection) -> Iterator[str]:
    """The bundles of everything that runs, or may yet."""
    for row in tx.execute(sa.select(deployment.c.bundle).where(deployment.c.state != STOPPED).distinct()):
        yield row.bundle


def models(tx: sa.Connection) -> set[str]:
    """The digests of the model versions that something loads, or may yet."""
    query = sa.select(deployment.c.models).where(deployment.c.state != STOPPED, deployment.c.models != "{}").distinct()
    decoded = (msgspec.json.decode(text, type=dict[str, ModelPin]) for text in tx.execute(query).scalars())
    return {pin.digest for pins in decoded for pin in pins.values()}


def change(tx: sa.Connection, id: str, now: float, **values: Any) -> None:
    """`values` are fields of Deployment."""
    tx.execute(deployment.update().where(deployment.c.id == id).values(**_ROWS.columns(**values), changed_at=now))


def scaled(tx: sa.Connection, id: str, now: float, active: int, pool: int) -> None:
    """From now on so many replicas answer and wait. Not a change of the deployment itself: pauses go on."""
    tx.execute(deployment.update().where(deployment.c.id == id).values(active=active, pool=pool, scaled_at=now))
    wake(tx, KIND, id)


def stay_awake(tx: sa.Connection, id: str, seconds: float) -> None:
    tx.execute(deployment.update().where(deployment.c.id == id).values(awake_s=seconds))


def drain(tx: sa.Connection, id: str, now: float) -> None:
    """Takes a deployment out of service; its replicas stop once the gateway has nothing with them any more."""
    change(tx, id, now, state=DRAINING, drained=False)
    wake(tx, KIND, id)


def drained(tx: sa.Connection, id: str, now: float) -> None:
    change(tx, id, now, drained=True)
    wake(tx, KIND, id)


def shares(tx: sa.Connection, place: tuple[str, str]) -> list[Share]:
    query = share.select().where(share.c.project == place[0], share.c.environment == place[1])
    return [_share(row) for row in tx.execute(query.order_by(share.c.name))]


def all_shares(tx: sa.Connection) -> dict[tuple[str, str], list[Share]]:
    """By the project and environment that are divided."""
    found: dict[tuple[str, str], list[Share]] = {}
    for row in tx.execute(share.select().order_by(share.c.name)):
        found.setdefault((row.project, row.environment), []).append(_share(row))
    return found


def _share(row: Any) -> Share:
    return Share(**{each: getattr(row, each) for each in Share.__struct_fields__})


def divide(tx: sa.Connection, place: tuple[str, str], services: Iterable[str], given: Iterable[Share]) -> None:
    """From now on these are the shares of the services, and no others."""
    mine = share.c.project == place[0], share.c.environment == place[1], share.c.service.in_(list(services))
    tx.execute(share.delete().where(*mine))
    rows = [{"project": place[0], "environment": place[1], **msgspec.structs.asdict(each)} for each in given]
    if rows:
        tx.execute(share.insert(), rows)


def remove(tx: sa.Connection, id: str) -> None:
    tx.execute(deployment.delete().where(deployment.c.id == id))
    drop(tx, KIND, id)


def serving(tx: sa.Connection, place: tuple[str, str], service: str, manifest: ServiceManifest) -> Deployment:
    """The deployment behind a service of the live release."""
    found = of_service(tx, place, service, manifest.digest)
    if found is None:
        raise NotFound(
            f"{place[0]}/{place[1]} has no service {service!r}", code="SERVICE_NOT_FOUND", hint="bough status"
        )
    return found
