"""What programs of an environment are given to find its databases: services, jobs, `bough data run`."""

from __future__ import annotations

import sqlalchemy as sa

from bough.databases import rules, store
from bough.databases.disk import Databases
from bough.databases.models import FAILED, READY, Instance, Place
from bough.kernel.errors import WorkloadFailed


def variables_of(tx: sa.Connection, place: Place, disk: Databases) -> dict[str, str] | None:
    """By name; None while one of its databases is being made: a program must not start without it. Raises what went
    wrong in making it."""
    found = store.of(tx, place)
    for each in found:
        if each.state == FAILED:
            raise WorkloadFailed(
                f"the database {each.name} of {place[1]} could not be made; {each.failure.get('message', '')}",
                code="DATABASE_FAILED_TO_BEGIN", hint=f"bough db show {each.name} -e {place[1]}",
            )  # fmt: skip
        if each.state != READY or not disk.engine(each.engine).ensure(each.handle):
            return None
    return given(disk, found)


def given(disk: Databases, found: list[Instance]) -> dict[str, str]:
    """The variables of an environment's programs; of databases that can be used."""
    ready = {each.name: disk.url(each) for each in found if each.state == READY}
    return rules.variables(ready) | (dict(disk.given()) if ready else {})
