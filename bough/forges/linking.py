"""From a link to its forge, and to the secrets that it names."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from bough.adapters.forges import Forge
from bough.forges.models import ForgeLink
from bough.kernel.project import PRODUCTION
from bough.secrets import store as secrets
from bough.secrets.models import Envelope
from bough.secrets.vault import Vault

OpenForge = Callable[[ForgeLink], Forge]
"""Every technology by its kind; put together in `composition/technologies.py`."""


class Keys:
    """Secrets that Bough itself uses: what webhooks are signed with, and tokens of forges."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def open_(self, tx: sa.Connection, project: str, name: str) -> str:
        """Raises `NotFound` (SECRET_NOT_FOUND)."""
        entry = secrets.find(tx, (project, PRODUCTION), name)
        return self._vault.open_(project, name, msgspec.convert(entry.value, Envelope))
