"""Receivers of OpenLineage events.

A receiver takes one event a call. It may block, at most some seconds. The same event may be given to it again: events
are the same for the same run, so a receiver that follows the specification ends with the same state.
"""

from __future__ import annotations

from typing import Protocol

from bough.kernel.errors import Invalid


class EventRefused(Invalid):
    """The receiver will never take this event: sending it again is no use."""

    code = "EVENT_REFUSED"


class Receiver(Protocol):
    def send(self, event: bytes) -> None:
        """Gives over one event, as JSON. Raises `Unavailable` when it should be tried again, and `EventRefused`."""
