"""Removes what ended job runs have left in folders: what they reported and made is kept elsewhere by then."""

from __future__ import annotations

import sqlalchemy as sa

from bough.jobs import store
from bough.jobs.units import Places
from bough.kernel import trees
from bough.kernel.reconcile import Handler, Turn, wake

KIND, ALL = "job-sweep", "all"
KEPT_S = 7 * 86_400.0  # logs, output and checkpoints after the end of a run: so long it can be taken up again
PAUSE_S = 3600.0


def handler(places: Places) -> Handler:
    def handle(turn: Turn) -> float | None:
        left = [path.name for root in places.roots for path in root.iterdir() if path.is_dir()]
        with turn.read() as tx:
            gone = store.ended_before(tx, left, turn.clock.now() - KEPT_S)
        for id in gone:
            with turn.read() as tx:  # the others took a while: somebody may have taken this one up again
                if not store.ended_before(tx, [id], turn.clock.now() - KEPT_S):
                    continue
            for folder in (places.folder(id), places.checkpoints(id)):
                trees.remove_tree(folder)
            with turn.apply():  # a folder of many files takes a while: the lease is renewed
                pass
        return PAUSE_S

    return handle


def begin(tx: sa.Connection) -> None:
    wake(tx, KIND, ALL)
