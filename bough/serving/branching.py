"""What a branch inherits is there at once and costs nothing: a deployment that sleeps for each service, built already.

Listens to events of `environments`, in the transaction that makes or discards the branch.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bough.environments import store as environments
from bough.kernel.events import Event
from bough.kernel.reconcile import wake
from bough.serving import store
from bough.serving.models import ASLEEP, READY


def on_branched(tx: sa.Connection, event: Event) -> None:
    """One deployment for each service of the release that the new environment inherits. It takes build and signature
    from a deployment of the same digest; where none is left it is built first."""
    if not event.data.get("release"):
        return
    release, manifest = environments.find(tx, event.data["release"])
    for name, service in manifest.services.items():
        source = store.built(tx, release.project, service.digest)
        begin: dict[str, Any] = {}
        if source is not None:
            state = READY if service.settings.mock else ASLEEP
            begin = {"state": state, "build": source.build, "signature": source.signature, "drained": True}
        store.ensure(tx, release, name, service, event.at, **begin)


def on_trust_changed(tx: sa.Connection, event: Event) -> None:
    """What sleeps would load its models without us when it is woken: it is looked at again."""
    for deployment in store.in_state(tx, ASLEEP):
        if deployment.models and deployment.project == event.data["project"]:
            wake(tx, store.KIND, deployment.id)


def on_discarded(tx: sa.Connection, event: Event) -> None:
    """Everything of the environment ends, and nothing of it is kept."""
    place = event.data["project"], event.data["environment"]
    store.divide(tx, place, {each.service for each in store.shares(tx, place)}, [])
    for deployment in store.in_environment(tx, place):
        store.change(tx, deployment.id, event.at, failure={})  # its logs are kept for nobody any more
        store.drain(tx, deployment.id, event.at)
