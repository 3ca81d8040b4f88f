"""What Bough itself has made (a trained or an optimized model) becomes a version, signed as any other is."""

from __future__ import annotations

import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.data.models import File
from bough.kernel.clock import Clock
from bough.kernel.context import Context, Parts, Principal, Role
from bough.kernel.events import Events
from bough.kernel.operations import Store
from bough.registry import registering, trusting, writing
from bough.registry.keys import Keyring
from bough.registry.models import Draft, Facts, Place, SignedBy, Version
from bough.registry.signing import sign_files

CANDIDATE = "candidate"


class Candidates:
    """Two halves, as every slow verb has: what reads and signs, and what is written in the caller's transaction."""

    def __init__(self, blobs: Blobs, keyring: Keyring, events: Events, clock: Clock, kept: Store) -> None:
        self._blobs, self._keyring, self._events, self._clock, self._kept = blobs, keyring, events, clock, kept

    def prepare(
        self, place: Place, name: str, files: list[File], facts: Facts, *, aliases: list[str], source: str,
        tags: dict[str, str] | None = None,
    ) -> Draft:  # fmt: skip
        """The version before it has a number, signed by the project's automatic signer if there is one. Raises what
        `registering.prepare` and `sign_files` raise."""
        draft = registering.prepare(
            self._blobs, files, facts=facts, signature=None, card="", source=source, description="",
            tags=tags or {}, aliases=aliases,
        )  # fmt: skip
        with self._kept.read() as tx:
            by = trusting.automatic(tx, place[0])
        if by is None:
            return draft
        bundle = sign_files(self._blobs, self._keyring, by, name, files)
        signed = [SignedBy(key=by.key, signer=by.name, at=0.0, by="", bundle=bundle)]
        return Draft(**{key: getattr(draft, key) for key in Draft.__struct_fields__} | {"signed": signed})

    def add(
        self, tx: sa.Connection, place: Place, name: str, draft: Draft, files: list[File], by: str,
        role: Role = Role.ADMIN,
    ) -> Version:  # fmt: skip
        """Registers it in the name of whoever asked for it; without a role, their right to was looked at then."""
        registering.check_sent(self._blobs, files, [draft.digest, *(each.bundle for each in draft.signed)])
        who = Principal(id="system", name=by, role=role)
        context = Context(who, tx, self._clock, self._events, Parts({}), self._kept)
        return writing.register(context, place, name, draft)
