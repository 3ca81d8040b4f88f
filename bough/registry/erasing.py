"""Forgetting somebody in models: a version never changes, so those that hold or were made from what goes are named."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.kernel import catalog
from bough.kernel.errors import Problem
from bough.kernel.subjects import Reached, Subject
from bough.registry import rules, store
from bough.registry.models import Version


def reach(tx: sa.Connection, blobs: Blobs, subject: Subject) -> Reached:
    """In every environment that sees them; those of the production environment's are named first."""
    remains = []
    heads = tx.execute(sa.select(catalog.head.c.environment).where(catalog.head.c.project == subject.project))
    for environment in sorted(heads.scalars()):
        place = subject.project, environment
        for model in store.models(tx, place, limit=catalog.LAST):
            for version in store.versions(tx, place, model.name, limit=catalog.LAST):
                if why := _why(blobs, subject, version):
                    retire = f"bough models delete {version.reference} -e {environment}"
                    remains.append(f"model {version.reference} in {environment} {why} and never changes: {retire}")
    return Reached(remains=remains)


def _why(blobs: Blobs, subject: Subject, version: Version) -> str:
    if made_from := sorted({each.name for each in version.facts.inputs} & subject.sources):
        return f"was made from {', '.join(made_from)}"
    if subject.is_in(msgspec.json.encode(version)):
        return "says their name"
    try:
        held = [each.path for each in rules.files_in(blobs.read(version.digest)) if each.digest in subject.digests]
    except Problem as problem:
        return f"could not be read ({problem.own_code})"
    return f"has it in {held[0]}" if held else ""
