"""Services that sleep are woken with the data of their environment as they are then: what changed is laid out for them
at once, not when they start, since the gateway wakes them without the server.

Listens to events of data and environments. An event that is missing costs a minute: the deployments look by themselves.
"""

from __future__ import annotations

import sqlalchemy as sa

from bough.kernel.events import Event
from bough.kernel.reconcile import wake
from bough.serving import store
from bough.serving.models import ASLEEP


def on_changed(tx: sa.Connection, event: Event) -> None:
    """Its subject is PROJECT/ENVIRONMENT, maybe with more behind; `into` is another environment concerned."""
    project, environment, *_ = event.subject.split("/", 2)
    for name in {environment, event.data.get("into", environment)}:
        for each in store.in_environment(tx, (project, name)):
            if each.state == ASLEEP and each.settings.data:
                wake(tx, store.KIND, each.id)


def on_databases(tx: sa.Connection, event: Event) -> None:
    """Those that an environment has by now are for services that run as well: they start anew with them."""
    project, environment = event.subject.split("/")
    for each in store.in_environment(tx, (project, environment)):
        wake(tx, store.KIND, each.id)
