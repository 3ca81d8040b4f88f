"""`bough.run(…)`: begins a run that reports to a Bough; `bough.params()`: what a job run was given.

The client is loaded when it is wanted, not with `import bough`, which programs do that never report anything."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

from bough.runtime.checkpoints import checking


def run(name: str = "", *, experiment: str = "", project: str = "", **options: Any) -> Any:
    """Begins a run, for a `with` block: `with bough.run("try 3", experiment="depth") as run: run.log_metrics(…)`.

    `project` is by default that of BOUGH_PROJECT or of the nearest bough.toml. Options: `environment`, `tags`,
    `client`. Commit, program, hardware and seconds are recorded by itself. The program's environment needs
    the package `bough` for it. While `bough check resume` runs the program nothing is reported."""
    if checking.plan() is not None:
        return checking.Unreported()
    client = importlib.import_module("bough.client.reporting")
    return client.begin(name, experiment=experiment, project=project, **options)


def params(**defaults: Any) -> dict[str, Any]:
    """The parameters of this job run, over `defaults`: `lr = bough.params(lr=0.1)["lr"]`."""
    given = json.loads(os.environ.get("BOUGH_PARAMS") or "{}")
    return {**defaults, **given}
