"""What becomes an entry: listeners to the events of others, which run in the transactions that emit them."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from bough.environments import store as environments
from bough.kernel.events import Event, Events
from bough.ledger.store import Ledger
from bough.registry import store as registry

RELEASE_LIVE, REGISTERED, ALIAS_SET = "release.live", "model.registered", "model.alias_set"
APPROVED, PROMOTED = "promotion.approved", "promotion.done"
CHAMPION = "champion"  # the alias whose version is in use

# Events whose data says everything: `project`, `environment`, `by` and `why`, and the rest is evidence.
SAID_WHOLE = (
    *("gates.ran", "promotion.started", "promotion.gated", APPROVED, "promotion.outdated", "promotion.verified"),
    *("promotion.step", PROMOTED, "promotion.aborted"),
)
_APART = ("project", "environment", "by", "why")


class Recorder:
    """Listens for the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def listen(self, events: Events) -> None:
        events.on(RELEASE_LIVE, self.on_release)
        events.on(REGISTERED, self.on_version)
        events.on(ALIAS_SET, self.on_version)
        for name in SAID_WHOLE:
            events.on(name, self.on_said)

    def on_release(self, tx: sa.Connection, event: Event) -> None:
        """A release serves now; also one that returns to an earlier one."""
        release, manifest = environments.find(tx, event.subject)
        evidence: dict[str, Any] = {"release": release.number, "manifest": release.digest, "id": release.id}
        evidence |= {"rolled_back_to": release.rolled_back_to} if release.rolled_back_to else {}
        evidence |= {"commit": release.commit} if release.commit else {}
        evidence["services"] = {name: each.digest for name, each in sorted(manifest.services.items())}
        evidence["models"] = {
            f"{name}.{key}": {"name": pin.name, "version": pin.version, "digest": pin.digest}
            for name, each in sorted(manifest.services.items())
            for key, pin in each.models.items()
        }
        self._ledger.append(
            tx, release.project, release.environment, event.name, f"{release.number}", by=release.created_by,
            why=release.message, evidence=evidence,
        )  # fmt: skip

    def on_version(self, tx: sa.Connection, event: Event) -> None:
        """A version was registered, or an alias names it now: with what it was made from, which outlives it here."""
        said = event.data
        name, number, place = said["name"], said["version"], (said["project"], said["environment"])
        evidence: dict[str, Any] = {key: value for key, value in said.items() if key not in _APART}
        if number:
            found = registry.version(tx, place, name, number)
            inputs = [msgspec.to_builtins(each) for each in found.facts.inputs]
            origin = {"digest": found.digest, "run": found.facts.run, "commit": found.facts.commit, "inputs": inputs}
            evidence |= {key: value for key, value in origin.items() if value}
        self._ledger.append(
            tx, *place, event.name, f"{name}/{number}" if event.name == REGISTERED else f"{name}@{said['alias']}",
            by=str(said.get("by", "")), why=str(said.get("why", "")), evidence=evidence,
        )  # fmt: skip

    def on_said(self, tx: sa.Connection, event: Event) -> None:
        said = event.data
        evidence = {name: value for name, value in said.items() if name not in _APART}
        project, environment, by, why = (str(said.get(name, "")) for name in _APART)
        self._ledger.append(tx, project, environment, event.name, event.subject, by=by, why=why, evidence=evidence)
