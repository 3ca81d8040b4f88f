"""What models use and who uses models."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.kernel import catalog
from bough.kernel.catalog import MODEL, Point
from bough.kernel.events import Event, Events, Listener
from bough.registry import rules, store


def used_by_versions(tx: sa.Connection, blobs: Blobs) -> Iterator[str]:
    """Every blob of every version that can still be named, for garbage collection."""
    for digest, is_list in store.used(tx):
        yield digest
        if is_list:
            yield from (each.digest for each in rules.files_in(blobs.read(digest)))


def on_merged(events: Events) -> Listener:
    """A merge moves aliases as well: whoever listens for that hears of it. `change` is the one that the merge made."""

    def listener(tx: sa.Connection, event: Event) -> None:
        merged, entry = event.data, catalog.entry
        place = merged["project"], merged["into"]
        if not merged["change"]:
            return
        layer = catalog.layer_of(tx, *place)
        query = entry.select().where(
            entry.c.layer == layer, entry.c.seq == merged["change"], entry.c.kind == MODEL, entry.c.key.like("%/%")
        )
        for row in tx.execute(query).all():
            if (alias := rules.alias_in(row.key)) is not None:
                was = catalog.get(tx, Point(layer, merged["change"] - 1), MODEL, row.key)
                now = catalog.get(tx, Point(layer), MODEL, row.key)
                before, number = (int(each.value["version"]) if each else 0 for each in (was, now))
                data = {"project": place[0], "environment": place[1], "name": alias[0], "alias": alias[1]}
                data |= {"by": merged["by"], "why": f"merge of {merged['environment']}", "change": merged["change"]}
                subject = store.subject(place, alias[0])
                events.emit(tx, store.ALIAS_SET, subject, **data, version=number, before=before)

    return listener
