"""Values of queues."""

from __future__ import annotations

import msgspec

from bough.kernel.queue import Queue
from bough.kernel.traffic import TokenIssuer


class QueueRoute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A queue as the gateway's table has it: settings, and who handles it (the public name and api of a service)."""

    project: str
    environment: str
    queue: str
    service: str
    settings: Queue
    api: str = "v1"
    access: str = "public"
    allow: list[str] = []  # as the handler's, and so are …
    tls_required: bool = False
    scopes: list[str] = []
    issuers: list[TokenIssuer] = []
    max_body_bytes: int = 16 << 20
    timeout_s: float = 30.0
    bare: bool = True  # found by its name alone; False where an older project has that name

    @property
    def place(self) -> tuple[str, str, str]:
        return self.project, self.environment, self.queue


class QueueState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a queue asks of its handler now, for whoever decides how many replicas that has. `depth` items wait, the
    oldest for `age_s`; `ready` of them would be begun if the handler had more replicas, none while it refuses them;
    `in_flight` are at the handler, which is a service's `deployment`; `rate` of them end in a second."""

    project: str
    environment: str
    queue: str
    service: str
    depth: int = 0
    age_s: float = 0.0
    in_flight: int = 0
    rate: float = 0.0
    accepted: int = 0  # since this gateway began, as the two below
    done: int = 0
    dead: int = 0
    deployment: str = ""
    ready: int = 0


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler said to an item, or why it said nothing. `status` 0: nothing was heard; `innocent`: and the item
    had no part in that."""

    status: int = 0
    body: bytes = b""
    kind: str = ""
    error: str = ""
    innocent: bool = False


class HandlerState(msgspec.Struct, frozen=True, kw_only=True):
    """`replicas` that are up (0: asleep or away), how many items one call of them takes, and `most` items that the
    handler lets wait (0: no bound). `deployment`: whose replicas they are."""

    replicas: int = 0
    batch: int = 1
    most: int = 0
    deployment: str = ""
