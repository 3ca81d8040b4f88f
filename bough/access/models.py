"""Principals, tokens and keys as data."""

from __future__ import annotations

from typing import Protocol

import msgspec
import sqlalchemy as sa


class PrincipalView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    role: str
    created_at: float


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    principal: str
    label: str
    created_at: float
    expires_at: float
    revoked: bool


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """`secret` is shown this once."""

    id: str
    principal: str
    secret: str
    expires_at: float


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    project: str
    services: list[str]
    label: str
    created_at: float
    expires_at: float
    revoked: bool
    scopes: list[str] = []
    tenant: str = ""
    priority: str = ""
    quota: str = ""
    environments: list[str] = []


class NewKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`secret` is shown this once. `not_there_yet`: services, queues and environments that it is for, and that its
    project does not have now."""

    id: str
    project: str
    secret: str
    expires_at: float
    not_there_yet: list[str] = []


class Opened(Protocol):
    """What keys can be for. Implemented by `environments`, which access must not know."""

    def has_project(self, tx: sa.Connection, project: str) -> bool: ...

    def not_there_yet(self, tx: sa.Connection, key: KeyView) -> list[str]:
        """Services, queues and environments of the key that its project does not have now."""
