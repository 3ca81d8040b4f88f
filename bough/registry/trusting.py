"""Which signed versions an environment accepts.

A version that nobody signed is accepted unless the environment requires it. One that was signed must hold: at least one
signer that the environment accepts and that is not revoked, a signature of that key, and the very list of files. That
all others have signed it as well, or once, does not help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import sqlalchemy as sa

from bough.data.models import File
from bough.kernel.errors import Forbidden, Invalid, NotFound, Problem
from bough.kernel.tables import metadata
from bough.registry import bundles
from bough.registry.models import Place, SignedBy, Signer, Trust, Version

ACTIVE, RETIRED, REVOKED = "active", "retired", "revoked"

signer = sa.Table(
    "signer",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),  # of the key, to its provider
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("automatic", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("ended_at", sa.Float, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)

signer_trust = sa.Table(
    "signer_trust",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),  # empty: those without a row of their own
    sa.Column("signers", sa.Text, nullable=False),  # JSON
    sa.Column("required", sa.Boolean, nullable=False),
)


class Source(Protocol):
    """What is read of blobs."""

    def read(self, digest: str) -> bytes: ...


def signers(tx: sa.Connection, project: str) -> list[Signer]:
    """By age, the newest first."""
    query = signer.select().where(signer.c.project == project).order_by(signer.c.created_at.desc(), signer.c.key)
    names = [name for name in Signer.__struct_fields__]
    return [Signer(**{name: getattr(row, name) for name in names}) for row in tx.execute(query)]


def find(tx: sa.Connection, project: str, text: str) -> Signer:
    """By name (the newest key of that name) or by the beginning of the key's id. Raises `NotFound`
    (SIGNER_NOT_FOUND)."""
    every = signers(tx, project)
    for each in every:
        if each.name == text and each.state == ACTIVE:
            return each
    for each in every:
        if each.name == text or (len(text) >= 8 and each.key.startswith(text)):
            return each
    known = ", ".join(sorted({each.name for each in every})) or "none"
    raise NotFound(
        f"{project} has no signer {text!r}; there is {known}", code="SIGNER_NOT_FOUND", hint="bough signers list"
    )


def automatic(tx: sa.Connection, project: str) -> Signer | None:
    """The one that signs whatever is registered."""
    return next((each for each in signers(tx, project) if each.automatic and each.state == ACTIVE), None)


def trust(tx: sa.Connection, place: Place) -> Trust:
    """That of the environment, else that of the whole project, else: nothing is required."""
    same = signer_trust.c.project == place[0], signer_trust.c.environment.in_([place[1], ""])
    rows = {row.environment: row for row in tx.execute(signer_trust.select().where(*same))}
    row = rows.get(place[1]) or rows.get("")
    if row is None:
        return Trust(project=place[0], environment="", signers=[], required=False)
    accepted = msgspec.json.decode(row.signers, type=list[str])
    return Trust(project=place[0], environment=row.environment, signers=accepted, required=row.required)


def choose(
    version: Version, signers: Mapping[str, Signer], accepted: Trust
) -> tuple[list[tuple[SignedBy, Signer]], Problem | None]:
    """The signings that count, newest first; with none, why the version is refused (None: it need not be signed)."""
    good: list[tuple[SignedBy, Signer]] = []
    revoked: Signer | None = None
    for each in reversed(version.signed):
        known = signers.get(each.key)
        if known is not None and known.state == REVOKED:
            revoked = known
        elif known is not None and (not accepted.signers or known.name in accepted.signers):
            good.append((each, known))
    if good or not (version.signed or accepted.required):
        return good, None
    again = f"bough models sign {version.reference}"
    if not version.signed:
        return [], Forbidden(f"{version.reference} is not signed", code="MODEL_NOT_SIGNED", hint=again)
    if revoked is not None:
        why = f"{version.reference} was signed by {revoked.name}, whose key {revoked.key[:12]} was revoked"
        why += f": {revoked.why}" if revoked.why else ""
        return [], Forbidden(why, code="MODEL_SIGNER_REVOKED", hint=again)
    names = ", ".join(sorted({each.signer or each.key[:12] for each in version.signed}))
    return [], Forbidden(
        f"{version.reference} was signed by {names}, which is not trusted here",
        code="MODEL_SIGNER_UNTRUSTED", hint=f"bough signers add NAME --public-key @FILE, or {again}",
    )  # fmt: skip


def check(tx: sa.Connection, place: Place, version: Version, files: Sequence[File], blobs: Source) -> SignedBy | None:
    """The signing that vouches for a version in an environment; None when nobody signed it and nobody has to. Reads
    none of its files. Raises `Forbidden` (MODEL_NOT_SIGNED, MODEL_SIGNER_REVOKED, MODEL_SIGNER_UNTRUSTED), `Invalid`
    (MODEL_TAMPERED, MODEL_SIGNATURE_WRONG, MODEL_BUNDLE_INVALID)."""
    known = {each.key: each for each in signers(tx, place[0])}
    good, refused = choose(version, known, trust(tx, place))
    if refused is not None:
        raise refused
    wrong: Invalid | None = None
    for each, by in good:
        try:
            signed = bundles.read(blobs.read(each.bundle))
            bundles.verify(signed, by.public_key)
            bundles.compare(signed, files, version.reference)
            return msgspec.structs.replace(each, signer=by.name)
        except Invalid as problem:
            wrong = wrong or problem
    if wrong is not None:
        raise wrong
    return None
