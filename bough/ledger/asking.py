"""What an environment ran at a time, and why: read from the ledger alone, which holds also what is deleted since."""

from __future__ import annotations

import sqlalchemy as sa

from bough.ledger import store
from bough.ledger.models import ApprovedBy, LedgerEntry, ModelThen, RanThen, ReleaseThen
from bough.ledger.recording import ALIAS_SET, APPROVED, CHAMPION, REGISTERED, RELEASE_LIVE

MOST_ALIASES = 10_000  # entries of aliases that one question reads


def then(tx: sa.Connection, place: tuple[str, str], at: float, model: str) -> RanThen:
    """`model`: one of them; empty: all."""
    found: dict[str, LedgerEntry] = {}
    for entry in _entries(tx, place, at, ALIAS_SET, limit=MOST_ALIASES):
        name = str(entry.evidence.get("name", ""))
        if entry.evidence.get("alias") == CHAMPION and (not model or name == model):
            found.setdefault(name, entry)
    models = [_model(tx, place, at, each) for _, each in sorted(found.items()) if each.evidence.get("version")]
    return RanThen(project=place[0], environment=place[1], at=at, release=_release(tx, place, at), models=models)


def _release(tx: sa.Connection, place: tuple[str, str], at: float) -> ReleaseThen | None:
    for entry in _entries(tx, place, at, RELEASE_LIVE, limit=1):
        said = entry.evidence
        return ReleaseThen(
            number=said.get("release", 0), digest=said.get("manifest", ""), since=entry.at, by=entry.by,
            commit=said.get("commit", ""), rolled_back_to=said.get("rolled_back_to", 0), models=said.get("models", {}),
            entry=entry.number,
        )  # fmt: skip
    return None


def _model(tx: sa.Connection, place: tuple[str, str], at: float, entry: LedgerEntry) -> ModelThen:
    said = entry.evidence
    name, version, promotion = said["name"], said["version"], said.get("promotion", "")
    approvals = _entries(tx, place, at, APPROVED, subject=promotion, limit=100) if promotion else []
    registered = next(iter(_entries(tx, (place[0], ""), at, REGISTERED, subject=f"{name}/{version}", limit=1)), None)
    origin = registered.evidence if registered is not None else {}
    return ModelThen(
        name=name, alias=CHAMPION, version=version, digest=said.get("digest", "") or origin.get("digest", ""),
        since=entry.at, by=entry.by, why=entry.why, promotion=promotion, gates=said.get("gates", []),
        approved=[
            ApprovedBy(by=each.by, at=each.at, why=each.why, entry=each.number)
            for each in reversed(approvals)
        ],
        trained_on=origin.get("inputs", []), run=origin.get("run", ""), entry=entry.number,
    )  # fmt: skip


def _entries(
    tx: sa.Connection, place: tuple[str, str], at: float, action: str, *, subject: str = "", limit: int
) -> list[LedgerEntry]:
    return store.entries(
        tx, project=place[0], environment=place[1], action=action, subject=subject, until=at, limit=limit
    )
