"""Secrets of an environment as they are now, for what Bough itself signs and connects with."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from bough.kernel.references import SecretReference, parse
from bough.secrets import store
from bough.secrets.models import Envelope
from bough.secrets.vault import Vault

OpenSecret = Callable[[sa.Connection, tuple[str, str], str], str]  # of an environment, by its name


def open_with(vault: Vault) -> OpenSecret:
    def open_(tx: sa.Connection, place: tuple[str, str], name: str) -> str:
        entry = store.find(tx, place, name)
        return vault.open_(place[0], name, msgspec.convert(entry.value, Envelope))

    return open_


def filled(tx: sa.Connection, place: tuple[str, str], text: str, secret: OpenSecret) -> str:
    """A text with the secrets that it refers to. Raises `NotFound` (SECRET_NOT_FOUND)."""
    parts = parse(text)
    if not any(isinstance(part, SecretReference) for part in parts):
        return text
    return "".join(secret(tx, place, part.name) if isinstance(part, SecretReference) else str(part) for part in parts)
