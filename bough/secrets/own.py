"""What Bough seals and opens by itself, whether or not anybody has set a secret yet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec
import sqlalchemy as sa

from bough.kernel.clock import Clock
from bough.secrets import store
from bough.secrets.models import Envelope, Sealed
from bough.secrets.vault import Vault

Read = Callable[[], AbstractContextManager[sa.Connection]]


class OwnSecrets:
    """The vault of one home in Bough's own hands. Its master key is made with the first need, unless secrets are there:
    then it is gone, which whoever uses it must be told (`NotFound`, SECRETS_KEY_MISSING)."""

    def __init__(self, vault: Vault, read: Read, clock: Clock) -> None:
        self._vault, self._read, self._clock = vault, read, clock

    def text(self, reference: str) -> str:
        """Of PROJECT/ENVIRONMENT/NAME, as it is now."""
        project, environment, name = reference.split("/")
        with self._read() as tx:
            found = store.find(tx, (project, environment), name)
        return self._vault.open_(project, name, msgspec.convert(found.value, Envelope))

    def sealed(self, project: str, name: str, text: str) -> str:
        """What nobody keeps, sealed on its way to a node."""
        empty = Envelope(project=project, environment=name, version=0, at=self._clock.now(), by="bough",
                         master="", wrapped="", sealed="")  # fmt: skip
        sealed = Sealed(project=project, name=name, envelope=self._present().seal(name, text, empty))
        return msgspec.json.encode(sealed).decode()

    def private_digest(self, content: bytes) -> str:
        return self._present().private_digest(content)

    def _present(self) -> Vault:
        if not self._vault.exists:
            with self._read() as tx:
                if not store.any_at_all(tx):
                    self._vault.create()
        return self._vault
