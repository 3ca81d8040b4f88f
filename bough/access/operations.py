"""Verbs of principals, tokens and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import sqlalchemy as sa

from bough.access import rules, store
from bough.access.models import KeyView, NewKey, NewToken, Opened, PrincipalView, TokenView
from bough.kernel.context import Context, Principal, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from bough.kernel.names import check_name
from bough.kernel.operations import Nothing, operation
from bough.kernel.traffic import PRIORITIES, quota

DAY_S = 86_400.0
KEYS_CHANGED = "keys.changed"
Days = Annotated[float, msgspec.Meta(ge=0, le=3650, description="days until it expires; 0: never")]


class NamedPrincipal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str


class PrincipalWithRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    role: Annotated[str, msgspec.Meta(description="viewer, developer, approver or admin")]


class CreateToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    principal: Annotated[str, msgspec.Meta(description="whose token; empty: your own")] = ""
    label: str = ""
    days: Days = 90.0


class CreateKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    services: Annotated[list[str], msgspec.Meta(description="services it may call; none: all of the project")] = []
    environments: Annotated[
        list[str], msgspec.Meta(description="environments that it opens, such as a branch; none: all of the project")
    ] = []
    label: str = ""
    days: Days = 0.0
    scopes: Annotated[list[str], msgspec.Meta(description="what it may do, in words that services ask for")] = []
    tenant: Annotated[str, msgspec.Meta(description="whom it belongs to, where tenants share quotas")] = ""
    priority: Annotated[str, msgspec.Meta(description="high, normal or low; empty: as the service says")] = ""
    quota: Annotated[str, msgspec.Meta(description='in place of what services say of each key, such as "100/s"')] = ""


class RotateKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    grace_h: Annotated[
        float, msgspec.Meta(ge=0, le=8760, description="hours that the old one still opens; 0: ends it at once")
    ] = 24.0
    days: Annotated[
        float, msgspec.Meta(ge=-1, le=3650, description="as of keys create; -1: as long as the old one")
    ] = -1.0


class Identified(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str


@operation("whoami", role=Role.VIEWER)
def whoami(context: Context, request: Nothing) -> PrincipalView:
    """Says which principal the token in use belongs to."""
    caller = context.principal
    return PrincipalView(id=caller.id, name=caller.name, role=caller.role.name.lower(), created_at=0.0)


@operation("principals.create", role=Role.ADMIN, writes=True)
def create_principal(context: Context, request: PrincipalWithRole) -> PrincipalView:
    """Adds a person or a service account."""
    check_name(request.name, "principal")
    return store.add_principal(context.tx, request.name, rules.role(request.role), context.clock.now())


@operation("principals.list", role=Role.VIEWER)
def list_principals(context: Context, request: Nothing) -> list[PrincipalView]:
    """Lists principals and their roles."""
    return store.principals(context.tx)


@operation("principals.set_role", role=Role.ADMIN, writes=True)
def set_role(context: Context, request: PrincipalWithRole) -> PrincipalView:
    """Gives a principal another role."""
    return store.set_role(context.tx, request.name, rules.role(request.role))


@operation("principals.remove", role=Role.ADMIN, writes=True)
def remove_principal(context: Context, request: NamedPrincipal) -> PrincipalView:
    """Removes a principal together with its tokens."""
    return store.remove_principal(context.tx, request.name)


@operation("tokens.create", role=Role.VIEWER, writes=True, secret=True)
def create_token(context: Context, request: CreateToken) -> NewToken:
    """Makes a token for the API; its text is shown once. Only admins make tokens for others."""
    name = request.principal or context.principal.name
    if name != context.principal.name and context.principal.role < Role.ADMIN:
        raise _not_yours(name)
    owner, now = store.find_principal(context.tx, name), context.clock.now()
    secret, hash = rules.fresh(rules.TOKEN_PREFIX)
    expires_at = now + request.days * 86_400 if request.days else 0.0
    id = store.add_token(context.tx, owner.id, hash, request.label, now, expires_at)
    return NewToken(id=id, principal=name, secret=secret, expires_at=expires_at)


@operation("tokens.list", role=Role.VIEWER)
def list_tokens(context: Context, request: Nothing) -> list[TokenView]:
    """Lists tokens, never their text: your own, or all for an admin."""
    mine = context.principal.name
    return [each for each in store.tokens(context.tx) if context.principal.role >= Role.ADMIN or each.principal == mine]


@operation("tokens.revoke", role=Role.VIEWER, writes=True)
def revoke_token(context: Context, request: Identified) -> list[TokenView]:
    """Ends a token at once."""
    owner = next((each.principal for each in store.tokens(context.tx) if each.id == request.id), "")
    if owner and owner != context.principal.name and context.principal.role < Role.ADMIN:
        raise _not_yours(owner)
    store.revoke(context.tx, store.token, request.id, context.clock.now())
    return list_tokens.function(context, Nothing())


@operation("keys.create", role=Role.DEVELOPER, writes=True, secret=True)
def create_key(context: Context, request: CreateKey) -> NewKey:
    """Makes a key with which a caller gets through the gateway to services with access = "key". It may be for services
    and environments that are yet to come; which those are it says."""
    now = context.clock.now()
    if not context.part(Opened).has_project(context.tx, request.project):
        raise NotFound(f"there is no project {request.project!r}", code="PROJECT_NOT_FOUND",
                       hint=f"bough projects list; bough projects create {request.project}")  # fmt: skip
    if request.priority not in ("", *PRIORITIES):
        raise Invalid(
            f"{request.priority!r} is no priority: use one of {', '.join(PRIORITIES)}", code="PRIORITY_UNKNOWN",
            hint="bough keys create --priority high",
        )  # fmt: skip
    if request.quota:
        quota(request.quota)
    if bad := [scope for scope in request.scopes if not scope or any(c.isspace() or c in '",' for c in scope)]:
        raise Invalid(f"{bad[0]!r} is no scope: it is one word", code="SCOPE_INVALID")
    return _issue(
        context,
        KeyView(
            id="", project=request.project, services=request.services, label=request.label, created_at=now,
            expires_at=now + request.days * DAY_S if request.days else 0.0, revoked=False, scopes=request.scopes,
            tenant=request.tenant, priority=request.priority, quota=request.quota, environments=request.environments,
        ),
    )  # fmt: skip


@operation("keys.rotate", role=Role.DEVELOPER, writes=True, secret=True)
def rotate_key(context: Context, request: RotateKey) -> NewKey:
    """Makes a new key with the rights of an old one, which still opens for some hours."""
    old, now = store.find_key(context.tx, request.id), context.clock.now()
    if old.revoked or (old.expires_at and old.expires_at <= now):
        raise Conflict(f"the key {old.id} opens nothing any more", code="KEY_ENDED", hint="bough keys create")
    days = (old.expires_at - old.created_at) / DAY_S if request.days < 0 and old.expires_at else max(0.0, request.days)
    expires_at = now + days * DAY_S if days else 0.0
    made = _issue(context, msgspec.structs.replace(old, created_at=now, expires_at=expires_at))
    ends = now + request.grace_h * 3600
    if request.grace_h:
        store.expire_key(context.tx, old.id, min(ends, old.expires_at) if old.expires_at else ends)
    else:
        store.revoke(context.tx, store.key, old.id, now)
    context.emit(KEYS_CHANGED, old.id)
    return made


@operation("keys.list", role=Role.VIEWER)
def list_keys(context: Context, request: Nothing) -> list[KeyView]:
    """Lists gateway keys, never their text."""
    return store.keys(context.tx)


@operation("keys.revoke", role=Role.DEVELOPER, writes=True)
def revoke_key(context: Context, request: Identified) -> list[KeyView]:
    """Ends a gateway key at once."""
    store.revoke(context.tx, store.key, request.id, context.clock.now())
    context.emit(KEYS_CHANGED, request.id)
    return store.keys(context.tx)


def _issue(context: Context, given: KeyView) -> NewKey:
    secret, hash = rules.fresh(rules.KEY_PREFIX)
    id = store.add_key(context.tx, given, hash)
    context.emit(KEYS_CHANGED, id)
    missing = context.part(Opened).not_there_yet(context.tx, given)
    return NewKey(id=id, project=given.project, secret=secret, expires_at=given.expires_at, not_there_yet=missing)


def authenticate(tx: sa.Connection, secret: str, now: float) -> Principal:
    """The principal that a token proves; raises `Unauthenticated`."""
    found = store.owner_of(tx, rules.digest(secret), now)
    if found is None:
        raise Unauthenticated(
            "the token is not known, expired or revoked",
            code="TOKEN_INVALID",
            hint="set BOUGH_TOKEN, or run bough up on this machine",
        )
    return found


def bootstrap(tx: sa.Connection, token_file: Path, now: float) -> None:
    """Makes the first admin and leaves its token in `token_file` (mode 0600), once; a lost file is replaced."""
    existing = token_file.read_text("ascii").strip() if token_file.exists() else ""
    if existing and store.owner_of(tx, rules.digest(existing), now):
        return
    admins = [each for each in store.principals(tx) if each.name == "admin"]
    owner = admins[0] if admins else store.add_principal(tx, "admin", Role.ADMIN, now)
    secret, hash = rules.fresh(rules.TOKEN_PREFIX)
    store.add_token(tx, owner.id, hash, "this machine", now, 0.0)
    temporary = token_file.with_name(f".{token_file.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(secret + "\n", "ascii")
    temporary.replace(token_file)


def _not_yours(owner: str) -> Forbidden:
    return Forbidden(f"the token belongs to {owner}", code="TOKEN_NOT_YOURS", hint="ask an admin")
