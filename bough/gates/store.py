"""The table of gate runs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from bough.environments import store as environments
from bough.gates import rules
from bough.gates.models import PASSED, RUNNING, GateResult, GateRun, Subject
from bough.kernel import catalog
from bough.kernel.errors import NotFound
from bough.kernel.names import new_id
from bough.kernel.policy import Gates, ModelPolicy
from bough.kernel.project import PRODUCTION
from bough.kernel.reconcile import wake
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata
from bough.registry.models import Place, Version

KIND = "gates"

gate_run = sa.Table(
    "gate_run",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, index=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("gates", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("against", sa.Text, nullable=False),
    sa.Column("results", sa.Text, nullable=False),
    sa.Column("finished_at", sa.Float, nullable=False),
)
_ROWS = Rows(GateRun, "gates", "against", "results")


def policy_of(tx: sa.Connection, place: Place, name: str) -> ModelPolicy:
    """What the live release of an environment says of a model, or of a preview what production's says of previews;
    nothing when it says nothing."""
    return (None if is_held(tx, place) else preview_policy(tx, place, name)) or _said(tx, place, name)


def preview_policy(tx: sa.Connection, place: Place, name: str) -> ModelPolicy | None:
    """What production asks of a model in previews; None where it asks nothing."""
    return _said(tx, (place[0], PRODUCTION), name).of_previews


def is_held(tx: sa.Connection, place: Place) -> bool:
    """Whether an environment is held to all that its own live release says."""
    return place[1] == PRODUCTION or catalog.is_protected(tx, *place)


def _said(tx: sa.Connection, place: Place, name: str) -> ModelPolicy:
    live = environments.live(tx, place)
    return live[1].models.get(name, ModelPolicy()) if live else ModelPolicy()


def add(
    tx: sa.Connection, place: Place, version: Version, champion: Version | None, gates: Gates, *, by: str, now: float
) -> GateRun:
    """A run of all gates, which its loop carries out."""
    against = champion and Subject(name=champion.name, number=champion.number, digest=champion.digest, id=champion.id)
    made = GateRun(
        id=new_id("gat"), project=place[0], environment=place[1], name=version.name, number=version.number,
        digest=version.digest, version=version.id, gates=gates, policy=rules.policy_digest(gates), state=RUNNING,
        by=by, started_at=now, against=against or None,
    )  # fmt: skip
    tx.execute(gate_run.insert(), _ROWS.row(made))
    wake(tx, KIND, made.id)
    return made


def get(tx: sa.Connection, id: str) -> GateRun:
    row = tx.execute(gate_run.select().where(gate_run.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no gate run {id!r}", code="GATE_RUN_NOT_FOUND", hint="bough gates list")
    return _ROWS.struct(row)


def runs(tx: sa.Connection, place: Place, name: str = "", *, digest: str = "", limit: int = 50) -> list[GateRun]:
    """Newest first."""
    query = gate_run.select().where(gate_run.c.project == place[0], gate_run.c.environment == place[1])
    for column, value in ((gate_run.c.name, name), (gate_run.c.digest, digest)):
        query = query.where(column == value) if value else query
    order = gate_run.c.started_at.desc(), gate_run.c.id.desc()
    return [_ROWS.struct(row) for row in tx.execute(query.order_by(*order).limit(limit))]


def passed(tx: sa.Connection, place: Place, digest: str, gates: Gates) -> GateRun | None:
    """The newest run in which this version passed these very gates here, unless it failed them since."""
    policy = rules.policy_digest(gates)
    for each in runs(tx, place, digest=digest, limit=1000):
        if each.policy == policy and each.state != RUNNING:
            return each if each.state == PASSED else None
    return None


def finish(tx: sa.Connection, id: str, state: str, results: list[GateResult], now: float) -> None:
    values = _ROWS.columns(state=state, results=results, finished_at=now)
    tx.execute(gate_run.update().where(gate_run.c.id == id).values(**values))


def evidence(tx: sa.Connection) -> Iterator[str]:
    """Digests of all evidence: it is kept for as long as the database."""
    for text in tx.execute(sa.select(gate_run.c.results)).scalars():
        yield from (each.evidence for each in msgspec.json.decode(text, type=list[GateResult]) if each.evidence)
