"""Tells webhooks of events, in order, until each has arrived.

Events are rows already, so nothing more is written when one happens: every webhook has a number up to which it knows
them. Killed between a delivery and its note, the same event is sent again under the same id.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from bough.adapters.connectors import Connectors
from bough.kernel import events
from bough.kernel.errors import Problem
from bough.kernel.events import Event
from bough.kernel.project import PRODUCTION
from bough.kernel.reconcile import Handler, Turn, wake
from bough.kernel.webhooks import headers
from bough.webhooks import rules, store
from bough.webhooks.models import KIND, Webhook

AT_ONCE = 200  # events that one turn looks at
OpenSecret = Callable[[sa.Connection, tuple[str, str], str], str]


def begin(tx: sa.Connection) -> None:
    """What was left by an earlier process goes on."""
    for each in store.every(tx):
        wake(tx, KIND, each.id)


def on_event(tx: sa.Connection, event: Event) -> None:
    """Wakes the webhooks that want to hear of it. One that is away is asked when its pause is over, however much
    happens meanwhile: else its tries would be used up in no time."""
    for each in store.every(tx):
        if rules.wants(each, event) and not each.tries:
            wake(tx, KIND, each.id)


def handler(connectors: Connectors, secret: OpenSecret) -> Handler:
    def turn(turn: Turn) -> float | None:
        with turn.read() as tx:
            webhook = store.find(tx, turn.id)
            if webhook is None:
                return None
            news = events.read(tx, after=webhook.cursor, limit=AT_ONCE)
            key = secret(tx, (webhook.project, PRODUCTION), webhook.secret)
        for event in news:
            if not rules.wants(webhook, event):
                continue
            told = _tell(connectors, webhook, event, key, turn.clock.now())
            with turn.apply(store.stands(webhook)) as tx:
                store.change(tx, webhook.id, **{name: getattr(told, name) for name in _NOTED})
            if told.tries:
                return rules.pause_s(told.tries)
            webhook = told
        if news and news[-1].seq > webhook.cursor:  # those after the last one are not for it
            with turn.apply(store.stands(webhook)) as tx:
                store.change(tx, webhook.id, cursor=news[-1].seq)
        return 0.0 if len(news) == AT_ONCE else None

    return turn


_NOTED = ("cursor", "told", "told_at", "tries", "lost", "said")


def _tell(connectors: Connectors, webhook: Webhook, event: Event, key: str, now: float) -> Webhook:
    """Sends one event; the webhook as it is then."""
    content = rules.body(event)
    try:
        status = connectors.post(webhook.url, headers(rules.id_of(webhook, event), content, int(now), key), content)
        said, arrived = f"{event.name} ({event.seq}): {status}", rules.arrived(status)
    except Problem as problem:
        said, arrived = f"{event.name} ({event.seq}): {problem.message}", False
    if arrived:
        return msgspec.structs.replace(
            webhook, cursor=event.seq, told=webhook.told + 1, told_at=now, tries=0, said=said
        )
    if webhook.tries + 1 >= rules.MOST_TRIES:
        said = f"{said}; given up"
        return msgspec.structs.replace(webhook, cursor=event.seq, tries=0, lost=webhook.lost + 1, said=said)
    return msgspec.structs.replace(webhook, tries=webhook.tries + 1, said=said)
