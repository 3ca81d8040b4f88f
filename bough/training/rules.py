"""What a run says of the model that it has made: pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bough.data.models import File
from bough.jobs.models import JobRun
from bough.registry.models import Facts, Input
from bough.tracking.models import Artifact, Run, number

PARENT = "bough.parent"  # tag of a run: the version that it was trained on from


def files_of(artifacts: Iterable[Artifact], folder: str) -> list[File]:
    """The files of the version: those that the run has left in `folder` of its artifacts."""
    start = f"{folder.strip('/')}/" if folder.strip("/") else ""
    return [
        File(path=each.path.removeprefix(start), digest=each.digest, size=each.size)
        for each in artifacts
        if not each.folder and each.path.startswith(start)
    ]


def facts_of(job: JobRun, tracked: Run) -> Facts:
    """`more` has what it cost: seconds and price of the capacity that it held, lost work included."""
    build = job.build
    metrics = {each.key: number(each.value) for each in tracked.metrics}
    return Facts(
        run=tracked.id,
        commit=tracked.source.commit,
        bundle=job.manifest.bundle,
        python_environment=build.environment_digest if build is not None else tracked.source.python_environment,
        parent=tracked.tags.get(PARENT, ""),
        inputs=[
            Input(kind=each.kind, name=each.name, version=each.version, role=each.context or "training")
            for each in tracked.inputs
        ],
        parameters=tracked.params,
        metrics={key: value for key, value in metrics.items() if math.isfinite(value)},
        more={
            "job": job.job, "job_run": job.id, "attempts": job.attempt, "seconds": round(job.seconds, 3),
            "cost": round(job.cost, 6),
        },
    )  # fmt: skip
