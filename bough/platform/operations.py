"""Verbs about Bough itself."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from bough.adapters.engine import ASLEEP, EXITED, Engine
from bough.gateway.control_client import state_of
from bough.kernel import events
from bough.kernel.context import Context, Role
from bough.kernel.errors import Unavailable
from bough.kernel.events import Event
from bough.kernel.operations import Nothing, operation
from bough.kernel.platform import Home, Platform
from bough.kernel.tables import audit

Limit = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class ListAudit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Limit = 100


class ListEvents(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    after: Annotated[int, msgspec.Meta(ge=0, le=2**62, description="sequence number to continue from")] = 0
    limit: Limit = 100


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    at: float
    principal: str
    operation: str
    subject: str
    outcome: str
    milliseconds: float
    request_digest: str


class PlatformStatus(msgspec.Struct, frozen=True, kw_only=True):
    home: str
    gateway_url: str
    api_url: str
    node: bool
    gateway: bool
    units: int
    generation: int
    lanes: list[dict[str, Any]]


@operation("platform.status", role=Role.VIEWER)
def status(context: Context, request: Nothing) -> PlatformStatus:
    """Says which parts of Bough answer."""
    platform, home = context.part(Platform), context.part(Home)
    gateway = state_of(home.gateway_socket)
    try:
        units, node = sum(each.state not in (ASLEEP, EXITED) for each in context.part(Engine).snapshot()), True
    except Unavailable:
        units, node = 0, False
    return PlatformStatus(
        home=str(home.path),
        gateway_url=platform.gateway_url,
        api_url=platform.api_url,
        node=node,
        gateway=gateway is not None,
        units=units,
        generation=gateway.generation if gateway else 0,
        lanes=[msgspec.to_builtins(lane) for lane in gateway.lanes] if gateway else [],
    )


@operation("audit.list", role=Role.APPROVER, command="audit")
def list_audit(context: Context, request: ListAudit) -> list[AuditEntry]:
    """Lists who did what, newest first, refusals included."""
    rows = context.tx.execute(audit.select().order_by(audit.c.seq.desc()).limit(request.limit))
    return [AuditEntry(**row._mapping) for row in rows]


@operation("events.list", role=Role.VIEWER, command="events")
def list_events(context: Context, request: ListEvents) -> list[Event]:
    """Lists what happened, oldest first."""
    return events.read(context.tx, after=request.after, limit=request.limit)
