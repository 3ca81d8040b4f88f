"""Tables of principals, tokens and keys."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from bough.access.models import KeyView, PrincipalView, TokenView
from bough.kernel.context import Principal, Role, Scope
from bough.kernel.errors import Conflict, NotFound
from bough.kernel.names import new_id
from bough.kernel.prepared import Prepared
from bough.kernel.tables import metadata

principal = sa.Table(
    "principal",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("role", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

token = sa.Table(
    "token",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("principal", sa.Text, sa.ForeignKey("principal.id", ondelete="CASCADE"), nullable=False),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),  # 0: never
    sa.Column("revoked_at", sa.Float),
    sa.Column("scope", sa.Text, nullable=False, server_default=sa.text("''")),  # JSON; empty: all that its owner may
)

key = sa.Table(
    "key",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("services", sa.Text, nullable=False),  # JSON list; empty: all of the project
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("revoked_at", sa.Float),
    sa.Column("scopes", sa.Text, nullable=False, server_default="[]"),  # JSON list
    sa.Column("tenant", sa.Text, nullable=False, server_default=sa.text("''")),
    sa.Column("priority", sa.Text, nullable=False, server_default=sa.text("''")),
    sa.Column("quota", sa.Text, nullable=False, server_default=sa.text("''")),
    sa.Column("environments", sa.Text, nullable=False, server_default="[]"),  # JSON list; empty: all of the project
)

_CALLED = Prepared(principal.select().where(principal.c.name == sa.bindparam("name_is")))  # at each start of a job


def add_principal(tx: sa.Connection, name: str, role: Role, now: float) -> PrincipalView:
    if tx.execute(principal.select().where(principal.c.name == name)).first():
        raise Conflict(f"there is a principal {name!r} already", code="PRINCIPAL_EXISTS", hint="bough principals list")
    id = new_id("pri")
    tx.execute(principal.insert().values(id=id, name=name, role=int(role), created_at=now))
    return PrincipalView(id=id, name=name, role=role.name.lower(), created_at=now)


def find_principal(tx: sa.Connection, name: str) -> PrincipalView:
    row = _CALLED.first(tx, name_is=name)
    if row is None:
        raise NotFound(f"there is no principal {name!r}", code="PRINCIPAL_NOT_FOUND", hint="bough principals list")
    return PrincipalView(id=row.id, name=row.name, role=Role(row.role).name.lower(), created_at=row.created_at)


def principals(tx: sa.Connection) -> list[PrincipalView]:
    rows = tx.execute(principal.select().order_by(principal.c.name))
    return [
        PrincipalView(id=row.id, name=row.name, role=Role(row.role).name.lower(), created_at=row.created_at)
        for row in rows
    ]


def set_role(tx: sa.Connection, name: str, role: Role) -> PrincipalView:
    found = find_principal(tx, name)
    if role < Role.ADMIN:
        _keep_an_admin(tx, found)
    tx.execute(principal.update().where(principal.c.id == found.id).values(role=int(role)))
    return find_principal(tx, name)


def remove_principal(tx: sa.Connection, name: str) -> PrincipalView:
    """Its tokens go with it."""
    found = find_principal(tx, name)
    _keep_an_admin(tx, found)
    tx.execute(token.delete().where(token.c.principal == found.id))
    tx.execute(principal.delete().where(principal.c.id == found.id))
    return found


def add_token(
    tx: sa.Connection, owner: str, hash: str, label: str, now: float, expires_at: float, scope: Scope | None = None
) -> str:
    id = new_id("tok")
    kept = msgspec.json.encode(scope).decode() if scope is not None else ""
    values = {"principal": owner, "hash": hash, "label": label, "created_at": now, "expires_at": expires_at}
    values["scope"] = kept
    tx.execute(token.insert().values(id=id, **values))
    return id


def remove_token(tx: sa.Connection, id: str) -> None:
    """For tokens that nobody was shown: nothing of them is left."""
    tx.execute(token.delete().where(token.c.id == id))


def tokens(tx: sa.Connection) -> list[TokenView]:
    joined = sa.join(token, principal, token.c.principal == principal.c.id)
    rows = tx.execute(
        sa.select(token, principal.c.name.label("owner")).select_from(joined).order_by(token.c.created_at)
    )
    return [
        TokenView(
            id=row.id,
            principal=row.owner,
            label=row.label,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked=row.revoked_at is not None,
        )
        for row in rows
    ]


def revoke(tx: sa.Connection, table: sa.Table, id: str, now: float) -> None:
    """Revokes a token or key; doing it again changes nothing."""
    if tx.execute(table.select().where(table.c.id == id)).first() is None:
        raise NotFound(
            f"there is no {table.name} {id!r}", code=f"{table.name.upper()}_NOT_FOUND", hint=f"bough {table.name}s list"
        )
    tx.execute(table.update().where(table.c.id == id, table.c.revoked_at.is_(None)).values(revoked_at=now))


def owner_of(tx: sa.Connection, hash: str, now: float) -> Principal | None:
    """Whose valid token this is."""
    joined = sa.join(token, principal, token.c.principal == principal.c.id)
    valid = sa.and_(token.c.revoked_at.is_(None), sa.or_(token.c.expires_at == 0, token.c.expires_at > now))
    row = tx.execute(sa.select(principal, token.c.scope).select_from(joined).where(token.c.hash == hash, valid)).first()
    if row is None:
        return None
    scope = msgspec.json.decode(row.scope, type=Scope) if row.scope else None
    return Principal(id=row.id, name=row.name, role=Role(row.role), scope=scope)


def add_key(tx: sa.Connection, given: KeyView, hash: str) -> str:
    """A key like `given`, under an id of its own."""
    id = new_id("key")
    values = {
        "project": given.project,
        "services": msgspec.json.encode(given.services).decode(),
        "hash": hash,
        "label": given.label,
        "created_at": given.created_at,
        "expires_at": given.expires_at,
        "scopes": msgspec.json.encode(given.scopes).decode(),
        "tenant": given.tenant,
        "priority": given.priority,
        "quota": given.quota,
        "environments": msgspec.json.encode(given.environments).decode(),
    }
    tx.execute(key.insert().values(id=id, **values))
    return id


def keys(tx: sa.Connection) -> list[KeyView]:
    return [_key_view(row) for row in tx.execute(key.select().order_by(key.c.created_at))]


def find_key(tx: sa.Connection, id: str) -> KeyView:
    row = tx.execute(key.select().where(key.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no key {id!r}", code="KEY_NOT_FOUND", hint="bough keys list")
    return _key_view(row)


def expire_key(tx: sa.Connection, id: str, at: float) -> None:
    tx.execute(key.update().where(key.c.id == id).values(expires_at=at))


def key_hashes(tx: sa.Connection) -> dict[str, str]:
    """Hash by id, of keys that are not revoked."""
    return {row.id: row.hash for row in tx.execute(key.select().where(key.c.revoked_at.is_(None)))}


def _key_view(row: sa.Row[Any]) -> KeyView:
    return KeyView(
        id=row.id,
        project=row.project,
        services=msgspec.json.decode(row.services),
        label=row.label,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked=row.revoked_at is not None,
        scopes=msgspec.json.decode(row.scopes),
        environments=msgspec.json.decode(row.environments),
        tenant=row.tenant,
        priority=row.priority,
        quota=row.quota,
    )


def _keep_an_admin(tx: sa.Connection, leaving: PrincipalView) -> None:
    others = sa.select(sa.func.count()).where(principal.c.role >= int(Role.ADMIN), principal.c.id != leaving.id)
    if leaving.role == "admin" and not tx.execute(others).scalar():
        raise Conflict(
            f"{leaving.name} is the last admin", code="LAST_ADMIN", hint="bough principals create NAME --role admin"
        )
