"""What lineage asks of runs, which are kept in a database of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import sqlalchemy as sa

from bough.kernel.errors import NotFound
from bough.lineage import models as kinds
from bough.lineage import rules
from bough.lineage.models import Thing
from bough.tracking import related, runs
from bough.tracking.models import Run


class TrackedRuns:
    """`read` opens a transaction on the database of runs."""

    def __init__(self, read: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
        self._read = read

    def get(self, project: str, id: str) -> Run | None:
        """None for one that was reported elsewhere."""
        with self._read() as tx:
            try:
                return runs.get(tx, project, id)
            except NotFound:
                return None

    def several(self, project: str, ids: Sequence[str]) -> dict[str, Run | None]:
        """By id; None for one that was reported elsewhere."""
        with self._read() as tx:
            found = {each.id: each for each in related.several(tx, project, ids)}
        return {id: found.get(id) for id in ids}

    def that_read(self, project: str, kind: str, names: Sequence[str]) -> dict[str, list[Run]]:
        with self._read() as tx:
            return related.that_read(tx, project, kind, names)

    def that_made(self, project: str, model: str) -> list[Run]:
        with self._read() as tx:
            return related.that_made(tx, project, model)

    def with_code(self, project: str, said: str, commit: str = "") -> list[Run]:
        with self._read() as tx:
            return related.with_code(tx, project, said, commit)

    def newest(self) -> int:
        with self._read() as tx:
            return related.newest(tx)

    def numbers(self, after: int, limit: int) -> list[int]:
        with self._read() as tx:
            return related.numbers(tx, after, limit)

    def open_ones(self) -> list[int]:
        with self._read() as tx:
            return related.open_ones(tx)

    def ended(self, numbers: Sequence[int]) -> dict[int, Run | None]:
        """Those of these that have ended; None: it is gone."""
        with self._read() as tx:
            return related.ended(tx, numbers)


def thing(project: str, id: str, run: Run | None) -> Thing:
    """A run, under the name that it has now."""
    bare = rules.thing(kinds.RUN, project, id)
    if run is None:
        return bare
    return Thing(
        id=bare.id, kind=kinds.RUN, name=run.name, project=project,
        details={"run": run.id, "state": run.status, "by": run.by, "experiment": run.experiment},
    )  # fmt: skip
