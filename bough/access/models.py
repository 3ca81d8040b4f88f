"""Principals, tokens and keys as data."""

from __future__ import annotations

import msgspec


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


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """`secret` is shown this once."""

    id: str
    project: str
    secret: str
    expires_at: float
