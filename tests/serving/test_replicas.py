"""How a replica is told what its service says."""

from __future__ import annotations

from bough.builds.models import BuildResult
from bough.environments.references import Filled
from bough.environments.rules import WITHOUT_RESTART
from bough.kernel.workloads import Service
from bough.serving.models import READY, Deployment
from bough.serving.replicas import unit_spec


def test_how_much_is_sampled_reaches_the_replica_and_needs_a_new_one() -> None:
    deployment = Deployment(
        id="dep_1", project="p", environment="main", service="s", digest="d", bundle="b", release=1, state=READY,
        settings=Service(model="m:M", sample_per_s=3), build=BuildResult(request="r", folder="/b", workdir="/b"),
        created_at=0.0, changed_at=0.0,
    )  # fmt: skip
    model = unit_spec(deployment, "dep_1-0", 1, Filled()).model
    assert model is not None and model.sample_per_s == 3
    assert "sample_per_s" not in WITHOUT_RESTART
