"""What keeps production from being changed past gates and approvals, whoever tries and from wherever.

Listens to events in the transactions that make a release or move an alias, and raises there: then nothing of it
happened. It holds in production and in every protected environment, by what their live release declares, and
in all others by what production's declares for previews; what production runs may run there.
"""

from __future__ import annotations

import contextlib
from typing import Any

import sqlalchemy as sa

from bough.environments import store as environments
from bough.gates import store as gates
from bough.kernel import catalog
from bough.kernel.clock import Clock
from bough.kernel.context import SYSTEM, Context, Parts, Principal, Role
from bough.kernel.errors import Forbidden, NotFound
from bough.kernel.events import Event, Events
from bough.kernel.operations import Store
from bough.kernel.policy import ModelPolicy
from bough.kernel.project import PRODUCTION
from bough.kernel.reconcile import wake
from bough.promotions import services, store
from bough.promotions.models import CHAMPION, DONE
from bough.promotions.steps import Steps
from bough.registry import store as registry
from bough.registry import writing
from bough.registry.models import Place, Version


class Guard:
    def __init__(self, events: Events, clock: Clock, kept: Store, steps: Steps) -> None:
        self._events, self._clock, self._kept, self._steps = events, clock, kept, steps

    def listen(self) -> None:
        self._events.on("release.created", self.on_release)
        self._events.on("release.live", self.on_live)
        self._events.on("environment.discarded", self.on_discarded)
        self._events.on(writing.ALIAS_SET, self.on_alias)
        self._events.on("gates.ran", on_gates)

    def on_release(self, tx: sa.Connection, event: Event) -> None:
        """A release may pin what runs already, what was live before, and what may become the champion."""
        release, manifest = environments.find(tx, event.subject)
        place = release.project, release.environment
        if release.rolled_back_to:
            return
        held = gates.is_held(tx, place)
        live = environments.live(tx, place)
        if live is None:  # the first release is what declares gates: nothing was in use before it
            return
        running = _pins(tx, place) | (set() if held else _pins(tx, (place[0], PRODUCTION)))
        for service, manifested in sorted(manifest.services.items()):
            for pin in sorted(services.pins(manifested) - running):
                if held or gates.preview_policy(tx, place, pin[0]) is not None:
                    policy = gates.policy_of(tx, place, pin[0])
                    _check(tx, place, pin[0], registry.by_id(tx, pin[2]), policy, f"services.{service}")

    def on_alias(self, tx: sa.Connection, event: Event) -> None:
        said = event.data
        place = said["project"], said["environment"]
        holds = gates.is_held(tx, place) or gates.preview_policy(tx, place, said["name"]) is not None
        if said["alias"] == CHAMPION and said["version"] and holds:
            live = environments.live(tx, place)
            running = [pin for each in live[1].services.values() for pin in each.models.values()] if live else []
            if any((pin.name, pin.version) == (said["name"], said["version"]) for pin in running):
                return  # it says what serves already, as after a rollback
            policy = gates.policy_of(tx, place, said["name"])
            version = registry.version(tx, place, said["name"], said["version"])
            _check(tx, place, said["name"], version, policy, f"{said['name']}@{CHAMPION}")

    def on_live(self, tx: sa.Connection, event: Event) -> None:
        """A rollback takes the alias with it, and ends what was being promoted on top of what it takes back."""
        release, manifest = environments.find(tx, event.subject)
        place = release.project, release.environment
        for promotion in store.unfinished(tx, place):
            if release.rolled_back_to:
                failure = {"code": "ROLLED_BACK", "message": f"rolled back to release {release.rolled_back_to}"}
                self._steps.abort(tx, promotion, failure, by=release.created_by)
            else:
                wake(tx, store.KIND, promotion.id)
        if not release.rolled_back_to:
            return
        who = Principal(id=SYSTEM.id, name=release.created_by, role=Role.ADMIN)
        context = Context(who, tx, self._clock, self._events, Parts({}), self._kept)
        for service in manifest.services.values():
            for pin in services.following(service).values():
                why = f"rolled back to release {release.rolled_back_to}"
                with contextlib.suppress(NotFound):  # deleted since: it serves all the same, from what the release kept
                    writing.set_alias(context, place, pin.name, CHAMPION, pin.version, why)

    def on_discarded(self, tx: sa.Connection, event: Event) -> None:
        for promotion in store.unfinished(tx, (event.data["project"], event.data["environment"])):
            failure = {"code": "ENVIRONMENT_DISCARDED", "message": f"{promotion.environment} was discarded"}
            self._steps.abort(tx, promotion, failure)


def _pins(tx: sa.Connection, place: Place) -> set[tuple[str, int, str]]:
    """Of the versions that an environment's live release runs."""
    live = environments.live(tx, place)
    return {pin for each in live[1].services.values() for pin in services.pins(each)} if live else set()


def on_gates(tx: sa.Connection, event: Event) -> None:
    for id in store.of_gates(tx, event.subject):
        wake(tx, store.KIND, id)


def _check(tx: sa.Connection, place: Place, name: str, version: Version, policy: ModelPolicy, what: str) -> None:
    """Raises `Forbidden` (GATES_NOT_PASSED, PROMOTION_NEEDED)."""
    if was_promoted(tx, place, version.id):
        return
    reference, where = f"{name}/{version.number}", "/".join(place)
    fields: dict[str, Any] = {"model": name, "version": version.number}
    if not policy.gates.empty and gates.passed(tx, place, version.digest, policy.gates) is None:
        raise Forbidden(
            f"{what}: {reference} has not passed the gates of {where}", code="GATES_NOT_PASSED",
            hint=f"bough gates run {reference} -e {place[1]}, or bough promote {reference} --to {place[1]}", **fields,
        )  # fmt: skip
    needed = policy.promotion.approvals
    if needed > 0 or (needed < 0 and catalog.is_protected(tx, *place) and not policy.gates.empty):
        raise Forbidden(
            f"{what}: {reference} becomes the champion of {where} by a promotion that is approved",
            code="PROMOTION_NEEDED", hint=f"bough promote {reference} --to {place[1]}", **fields,
        )  # fmt: skip


def was_promoted(tx: sa.Connection, place: Place, version: str) -> bool:
    """Whether a promotion made it the champion here, and no rollback has taken it back since."""
    row = store.promotion
    same = row.c.project == place[0], row.c.environment == place[1], row.c.version == version
    done = tx.execute(sa.select(sa.func.max(row.c.finished_at)).where(*same, row.c.state == DONE)).scalar()
    if done is None:
        return False
    kept = [
        any(pin[2] == version for each in manifest.services.values() for pin in services.pins(each))
        for manifest in environments.rolled_back_to(tx, place, done)
    ]
    return all(kept)
