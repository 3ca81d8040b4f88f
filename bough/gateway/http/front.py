"""What all client connections share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bough.gateway.answers import Heads
from bough.gateway.call import Call
from bough.gateway.routing.plan import Plan, Planner
from bough.gateway.telemetry.access_log import Ledger

if TYPE_CHECKING:
    from bough.gateway.http.connection import Connection


class Front:
    """Also the place where a connection finds who carries out a plan."""

    def __init__(self, heads: Heads, ledger: Ledger, planner: Planner) -> None:
        self.heads = heads
        self.ledger = ledger
        self.records = ledger.records
        self.planner = planner
        self.known: dict[bytes, Plan] = {}
        self.count = 0  # calls so far; also their ids
        self.stopping = False
        self.connections: set[Connection] = set()
        self.local: Callable[[Call], None]  # answers what the gateway itself is asked
        self.named: Callable[[Call, bytes], None]  # sends a call on whose service the body names
        self.proxy: Callable[[Connection, Call], Any]  # starts a request to a web service

    def forget(self) -> None:
        """The table has changed: what was decided from it is void."""
        self.known.clear()
