"""Tokens: how they look and how they are kept. 256 random bits need no slow hash: they cannot be guessed."""

from __future__ import annotations

import hashlib
import secrets

from bough.kernel.context import Role
from bough.kernel.errors import Invalid

TOKEN_PREFIX = "bough_"  # noqa: S105 - lets secret scanners recognise one
KEY_PREFIX = "bk_"


def fresh(prefix: str) -> tuple[str, str]:
    """A secret and its digest."""
    secret = prefix + secrets.token_urlsafe(32)
    return secret, digest(secret)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def role(name: str) -> Role:
    try:
        return Role[name.upper()]
    except KeyError:
        names = ", ".join(each.name.lower() for each in Role)
        raise Invalid(
            f"{name!r} is not a role: use one of {names}", code="ROLE_UNKNOWN", hint="bough principals --help"
        ) from None
