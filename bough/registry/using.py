"""What models use and who uses models."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.environments.models import ModelPin
from bough.kernel import catalog
from bough.kernel.catalog import MODEL, Point
from bough.kernel.events import Event, Events, Listener
from bough.registry import rules, store, trusting, writing
from bough.registry.models import Place


def used_by_versions(tx: sa.Connection, blobs: Blobs, pinned: Collection[str]) -> Iterator[str]:
    """Every blob of every version that can still be named, for garbage collection. `pinned`: digests of versions that
    releases and deployments load."""
    lists = set(pinned)
    for digest, is_list in store.used(tx):
        yield digest
        if is_list:
            lists.add(digest)
    for digest in lists:
        yield digest
        yield from (each.digest for each in rules.files_in(blobs.read(digest)))


def used_by_lists(lists: Iterator[str], blobs: Blobs) -> Iterator[str]:
    """Lists of files that nobody has registered yet, and the files in them."""
    for digest in lists:
        yield digest
        yield from (each.digest for each in rules.files_in(blobs.read(digest)))


class Registered:
    """`environments.models.RegisteredModels`."""

    def pin(self, tx: sa.Connection, place: Place, reference: str, blobs: Blobs) -> ModelPin:
        found = store.resolve(tx, place, reference)
        trusting.check(tx, place, found, rules.files_in(blobs.read(found.digest)), blobs)
        return ModelPin(name=found.name, version=found.number, id=found.id, digest=found.digest)

    def check(self, tx: sa.Connection, place: Place, pin: ModelPin, blobs: Blobs) -> None:
        found = store.by_id(tx, pin.id)
        trusting.check(tx, place, found, rules.files_in(blobs.read(pin.digest)), blobs)


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
                subject = writing.subject(place, alias[0])
                events.emit(tx, writing.ALIAS_SET, subject, **data, version=number, before=before)

    return listener
