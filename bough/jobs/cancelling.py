"""Which job runs are cancelled together.

Whoever asks for a job gets one id, and with it the jobs that it comes after: cancelling that id ends all of it, as
terminating a workflow does elsewhere (Argo, Dagster). In the middle of a graph it is as with a task of Airflow: what
comes after is skipped, and what others still wait for goes on.
"""

from __future__ import annotations

import sqlalchemy as sa

from bough.jobs import store
from bough.jobs.models import JobRun


def together(tx: sa.Connection, run: JobRun) -> list[JobRun]:
    """The run and those of its group, and before them in time what ran for these alone: what they come after and nobody
    else waits for. Only what has not ended."""
    found = {each.id: each for each in (*store.members(tx, run.id), run) if not each.ended}
    left = list(found.values())
    while left:
        for before in store.several(tx, left.pop().needs):
            if before.ended or before.id in found or set(store.waiting_for(tx, before)) - found.keys():
                continue
            fresh = [each for each in (*store.members(tx, before.id), before) if not each.ended]
            found |= {each.id: each for each in fresh}
            left += fresh
    return list(found.values())
