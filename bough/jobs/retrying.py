"""Which job runs are taken up again together."""

from __future__ import annotations

import sqlalchemy as sa

from bough.jobs import store
from bough.jobs.models import CANCELLED, FAILED, SKIPPED, JobRun

LOST = (FAILED, CANCELLED, SKIPPED)


def together(tx: sa.Connection, run: JobRun) -> list[JobRun]:
    """The run and those of its group; of a group of which one run alone is meant, the group without the others; all
    that it comes after, and what was skipped because of any of these. Only what has ended without success."""
    found: dict[str, JobRun] = {}
    left = [run]
    while left:
        each = left.pop()
        if each.state in LOST and each.id not in found:
            found[each.id] = each
            left += [*store.members(tx, each.id), *store.several(tx, each.needs)]
    around = store.several(tx, {each.group for each in found.values() if each.group})
    found |= {each.id: each for each in around if each.state in LOST}
    left = list(found.values())
    while left:
        skipped = store.skipped_after(tx, left.pop())
        groups = store.several(tx, {each.group for each in skipped if each.group})
        fresh = [each for each in (*skipped, *groups) if each.id not in found]
        found |= {each.id: each for each in fresh}
        left += fresh
    return list(found.values())
