"""Pure decisions about webhooks: who wants to hear of what, what is sent, and when it is tried again."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase

import msgspec

from bough.kernel.events import Event
from bough.webhooks.models import TESTED, Webhook

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 3600.0
MOST_TRIES = 24  # of one event: twelve hours, most of them an hour apart


def wants(webhook: Webhook, event: Event) -> bool:
    """An event that says no project is nobody's: it is told to no one."""
    if event.name == TESTED:
        return event.subject == webhook.id
    if event.data.get("project") != webhook.project:
        return False
    return any(fnmatchcase(event.name, pattern) for pattern in webhook.events)


def id_of(webhook: Webhook, event: Event) -> str:
    """The same however often it is sent, so that a receiver knows it again."""
    return f"evt_{event.seq}_{webhook.id.rpartition('_')[2]}"


def body(event: Event) -> bytes:
    at = datetime.fromtimestamp(event.at, UTC).isoformat()
    return msgspec.json.encode(
        {"type": event.name, "timestamp": at, "data": {**event.data, "subject": event.subject, "seq": event.seq}}
    )


def pause_s(tries: int) -> float:
    """Until the next try after so many."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(tries - 1, 30))


def arrived(status: int) -> bool:
    return 200 <= status < 300
