"""What an environment ran at a time, and why: read from the ledger alone, which holds also what is deleted since."""

from __future__ import annotations

import sqlalchemy as sa

from bough.ledger import store
from bough.ledger.models import ApprovedBy, LedgerEntry, ModelThen, RanThen, ReleaseThen
from bough.ledger.recording import ALIAS_SET, APPROVED, CHAMPION, PROMOTED, RELEASE_LIVE

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
    name, version = said["name"], said["version"]
    promoted = _promoted(tx, place, at, name, version)
    approvals = _entries(tx, place, at, APPROVED, subject=promoted.subject, limit=100) if promoted else []
    return ModelThen(
        name=name, alias=CHAMPION, version=version, digest=said.get("digest", ""), since=entry.at, by=entry.by,
        why=entry.why, promotion=promoted.subject if promoted else "",
        approved=[ApprovedBy(by=each.by, at=each.at, why=each.why, entry=each.number) for each in reversed(approvals)],
        gates=promoted.evidence.get("gates", {}) if promoted else {}, trained_on=said.get("inputs", []),
        run=said.get("run", ""), entry=entry.number,
    )  # fmt: skip


def _promoted(tx: sa.Connection, place: tuple[str, str], at: float, name: str, version: int) -> LedgerEntry | None:
    """The promotion that made this version the champion, the newest if it was several times."""
    for entry in _entries(tx, place, at, PROMOTED, limit=MOST_ALIASES):
        if (entry.evidence.get("name"), entry.evidence.get("version")) == (name, version):
            return entry
    return None


def _entries(
    tx: sa.Connection, place: tuple[str, str], at: float, action: str, *, subject: str = "", limit: int
) -> list[LedgerEntry]:
    return store.entries(
        tx, project=place[0], environment=place[1], action=action, subject=subject, until=at, limit=limit
    )
