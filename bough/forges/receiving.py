"""What a webhook changes: a row, and a wake. Everything else is the loop's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from bough.adapters.forges import PULL, PUSH, Hook
from bough.forges import rules, store
from bough.forges.linking import Keys, OpenForge
from bough.forges.models import ForgeDelivery, ForgeLink, Preview
from bough.kernel.clock import Clock
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.names import new_id
from bough.kernel.operations import Store
from bough.kernel.reconcile import wake

KIND = "preview"
TAKEN, REPEATED, OLD, IGNORED = "taken", "repeated", "old", "ignored"


class Webhooks:
    def __init__(self, database: Store, clock: Clock, keys: Keys, forge_of: OpenForge) -> None:
        self._database, self._clock, self._keys, self._forge_of = database, clock, keys, forge_of

    def take(self, id: str, headers: Mapping[str, str], body: bytes) -> ForgeDelivery:
        """Raises `NotFound` (HOOK_NOT_FOUND), `Unauthenticated` (WEBHOOK_FORGED), `Invalid` (WEBHOOK_INVALID,
        WEBHOOK_OF_ANOTHER)."""
        now = self._clock.now()
        with self._database.read() as tx:
            link = store.link(tx, id)
            if link is None:
                raise NotFound("no forge calls here", code="HOOK_NOT_FOUND", hint="bough forges list")
            secret = self._keys.open_(tx, link.project, link.secret)
        forge = self._forge_of(link)
        forge.verify(headers, body, secret, now)
        hook = forge.read(headers, body)
        if hook.repository and hook.repository.lower() != link.repository.lower():
            raise Invalid(
                f"this webhook is of {hook.repository}, and the link is of {link.repository}",
                code="WEBHOOK_OF_ANOTHER", hint=f"bough forges add {hook.repository}",
            )  # fmt: skip
        delivery = hook.delivery or hashlib.sha256(body).hexdigest()
        with self._database.write() as tx:
            if store.known(tx, id, delivery):
                return _delivery(link, delivery, hook, REPEATED, now)
            taken = _delivery(link, delivery, hook, _apply(tx, link, hook, now), now)
            store.record(tx, taken)
        return taken


def _apply(tx: sa.Connection, link: ForgeLink, hook: Hook, now: float) -> str:
    if hook.kind == PULL and hook.pull is not None:
        known = store.find(tx, link.id, hook.pull.number, "")
        made = rules.seen(known, hook.pull, link, new_id("prv"), now)
        if made is None or (known is None and not made.open):
            return OLD
    elif hook.kind == PUSH and hook.branch in link.branches:
        made = _pushed(store.find(tx, link.id, 0, hook.branch), link, hook, now)
    else:
        return IGNORED
    store.put(tx, made)
    wake(tx, KIND, made.id)
    return TAKEN


def _pushed(known: Preview | None, link: ForgeLink, hook: Hook, now: float) -> Preview:
    """Pushes carry no time: which commit is the newest, the fetch says."""
    if known is None:
        known = Preview(
            id=new_id("prv"), link=link.id, project=link.project, number=0, branch=hook.branch, commit="", base="",
            fork=False, title="", author="", url="", open=True, seen_at=now, changed_at=now,
        )  # fmt: skip
    return msgspec.structs.replace(
        known, commit=hook.commit or known.commit, open=bool(hook.commit), seen_at=now, changed_at=now
    )


def _delivery(link: ForgeLink, delivery: str, hook: Hook, outcome: str, now: float) -> ForgeDelivery:
    about = f"#{hook.pull.number} {hook.pull.state}" if hook.pull is not None else hook.branch
    return ForgeDelivery(link=link.id, delivery=delivery, kind=hook.kind, about=about, outcome=outcome, at=now)
