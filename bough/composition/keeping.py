"""What must not be deleted because something uses it, what killed programs have left, and what an erasure reaches."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.builds.bundle import used_by
from bough.composition.workings import Workings
from bough.data import garbage, retention
from bough.databases import store as database_store
from bough.environments import store as environment_store
from bough.gates import store as gates
from bough.gateway import erasing as kept_requests
from bough.jobs import erasing as job_erasing
from bough.jobs import store as job_runs
from bough.jobs.units import Places
from bough.kernel.subjects import Reach
from bough.optimizing import store as optimizations
from bough.queues import erasing as queue_erasing
from bough.registry import erasing as model_erasing
from bough.registry import using as model_use
from bough.serving import store as deployments
from bough.tracking import erasing as run_erasing
from bough.tracking.artifacts import references as artifact_references

# What uses blobs beside the entries of the catalog, and the artifacts of runs, which have a database of their own.
REFERENCES: dict[str, garbage.References] = {
    "releases": lambda tx, blobs: used_by(environment_store.bundles(tx), blobs),
    "deployments": lambda tx, blobs: used_by(deployments.bundles(tx), blobs),
    "models": lambda tx, blobs: model_use.used_by_versions(
        tx, blobs, {*environment_store.models(tx), *deployments.models(tx)}
    ),
    "gates": lambda tx, blobs: gates.evidence(tx),
    "students": lambda tx, blobs: model_use.used_by_lists(optimizations.students(tx), blobs),
    "jobs": lambda tx, blobs: used_by(job_runs.bundles(tx), blobs),
}


def collector(works: Workings) -> garbage.Collector:
    technologies = works.technologies

    def artifacts(tx: sa.Connection, blobs: Blobs) -> Iterator[str]:
        with technologies.tracking.read() as tracking:
            yield from artifact_references(tracking)

    return garbage.Collector(
        *(technologies.database, technologies.blobs, technologies.clock, REFERENCES | {"artifacts": artifacts}),
        works.home.run / "gc.lock",
        pinned=lambda tx: environment_store.pinned(tx) | job_runs.pinned(tx),
        sweep=lambda: _sweep(works),
    )


def reaches(works: Workings) -> list[Reach]:
    """What erasures ask beside the catalog."""
    home, technologies = works.home, works.technologies
    return [
        lambda tx, subject: run_erasing.reach(technologies.tracking.write, subject),
        lambda tx, subject: queue_erasing.reach(technologies.queues, subject),
        lambda tx, subject: kept_requests.reach(home.traffic, subject),
        lambda tx, subject: model_erasing.reach(tx, technologies.blobs, subject),
        lambda tx, subject: job_erasing.reach(tx, Places(home), subject),
    ]


def _sweep(works: Workings) -> None:
    """What killed programs have left, files that are too old, and databases that nothing names any more."""
    technologies = works.technologies
    retention.expire(technologies.database, works.events, technologies.clock, works.home.views)
    works.trees.sweep()
    with technologies.database.read() as tx:
        live = database_store.live_handles(tx)
    works.databases.sweep(live, garbage.GRACE_S)
