"""A candidate fails its gates, is mended, approved by another, takes over under load step by step, and goes back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.journeys.machine import Machine

TOML = """
[services.churn]
model = "service:Churn"
models = { limit = "models:/churn@champion" }

[models.churn.gates]
scan = true
max_size_mb = 1
checks = ["own_gates.py:small"]

[models.churn.gates.metrics.auc]
min = 0.5

[models.churn.gates.evaluation]
data = "test.csv"
label = "churned"
hidden = ["customer"]
worse = 0.02
groups = ["region"]

[models.churn.gates.data]
ignore = ["customer"]

[models.churn.gates.load]
requests = 200
concurrency = 4
p95_ms = 2000

[models.churn.promotion]
steps = [25, 100]
watch_s = 3
min_requests = 5
max_p95_ratio = 0
approvals = 1
"""
OWN_GATES = """
from pathlib import Path

def small(gate):
    limit = int(Path(gate.folder, "limit.txt").read_text())
    return limit < 100 and gate.champion_number == 1, "a small limit", {"limit": limit}
"""
SERVICE = """
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Customer:
    months: int
    region: str


class Churn:
    def load(self) -> None:
        self.limit = int(Path(self.models["limit"], "limit.txt").read_text())

    def predict(self, item: Customer) -> int:
        time.sleep(0.002)  # and no processor: what promotes it needs that
        return int(item.months < self.limit)
"""


def test_from_a_failed_gate_to_a_champion_and_back(machine: Machine) -> None:
    rows = [f"{n},{n % 40},{'north' if n % 2 else 'south'},{int(n % 40 < 12)}" for n in range(400)]
    test = "customer,months,region,churned\n" + "\n".join(rows) + "\n"
    project = machine.project("shop", TOML, service_py=SERVICE, test_csv=test, own_gates_py=OWN_GATES)
    machine.bough("projects", "create", "shop")
    history = machine.home.parent / "history"
    history.mkdir()
    (history / "part.csv").write_text(test)
    machine.bough("data", "put", str(history), "history", cwd=project)
    machine.bough("tables", "create", "orders", "test.csv", cwd=project)
    register(machine, project, 10, "champion")
    first = machine.deploy(project)["release"]
    assert machine.predict("churn.shop", {"months": 11, "region": "north"}) == 0

    # worse on the same rows: its gates say so, and no other way leads past them
    register(machine, project, 3, "candidate")
    refused = ended(machine, machine.bough("promote", "churn@candidate", "--to", "production", cwd=project))
    assert refused["failure"]["code"] == "GATES_FAILED" and "may be worse" in refused["failure"]["message"]
    run = machine.bough("gates", "show", refused["gate_run"], cwd=project)
    assert {each["gate"]: each["passed"] for each in run["results"]} == {
        "check.small": True, "data": True, "evaluation": False, "fairness.region": True, "load": True,
        "metrics.auc": True, "scan": True, "size": True,
    }  # fmt: skip
    assert "FAILED  evaluation" in said(machine, project, "gates", "show", refused["gate_run"])
    followed = machine.run("promotions", "follow", refused["id"], cwd=project)
    assert followed.returncode == 8 and "aborted" in followed.stdout and "PROMOTION_ABORTED" in followed.stderr
    past = machine.bough("models", "alias", "churn", "champion", "2", cwd=project, code=3)
    assert past["error"]["code"] == "GATES_NOT_PASSED"

    # mended, approved by somebody else, and taken over while requests come
    register(machine, project, 12, "candidate")
    machine.bough("principals", "create", "bob", "approver")
    token = machine.bough("tokens", "create", "--principal", "bob")["secret"]
    load = machine.load("/v1/churn.shop/predict", {"months": 1, "region": "north"}, connections=2, expect="1")
    made = machine.bough("promote", "churn@candidate", "--to", "production", "--why", "limit of June", cwd=project)
    wait(machine, made, "waiting")
    assert f"bough approve {made['id']}    (1 more)" in said(machine, project, "promotions", "show", made["id"])
    own = machine.bough("approve", made["id"], cwd=project, code=3)
    assert own["error"]["code"] == "APPROVAL_REFUSED"
    machine.bough("approve", made["id"], "--why", "looked at it", "--token", token, cwd=project)
    done = ended(machine, made)
    assert done["state"] == "done", done
    lines = machine.run("promotions", "follow", made["id"], cwd=project)
    assert lines.returncode == 0 and "done" in lines.stdout.splitlines()[-1], lines.stdout
    figures = load.stop()
    assert figures["failed"] == 0, figures
    assert machine.predict("churn.shop", {"months": 11, "region": "north"}) == 1
    steps = machine.bough("audit", "ledger", "--action", "promotion.step", cwd=project)
    assert [each["evidence"]["percent"] for each in steps] == [100.0, 25.0]
    assert steps[0]["evidence"]["before_it"]["candidate"]["requests"] > 0

    # who, when, on what; and back
    assert "approved by  bob" in said(machine, project, "audit", "at", "0s")
    assert "bough rollback    takes it back" in said(machine, project, "promotions", "show", made["id"])
    then = machine.bough("audit", "at", "0s", cwd=project)["models"][0]
    assert (then["version"], then["why"], then["approved"][0]["by"]) == (3, "limit of June", "bob")
    assert then["gates"].keys() == {each["gate"] for each in run["results"]}
    assert {"kind": "table", "name": "orders", "version": orders(machine, project)} in then["trained_on"]
    machine.bough("rollback", cwd=project)
    assert machine.predict("churn.shop", {"months": 11, "region": "north"}) == 0
    releases = machine.bough("releases", cwd=project)
    assert releases[0]["digest"] == first["digest"] != releases[1]["digest"]
    assert machine.bough("models", "show", "churn", cwd=project)["aliases"]["champion"] == 1
    assert machine.bough("audit", "verify", cwd=project)["entries"] > 10


CI_TOML = """
[services.churn]
model = "service:Churn"

[models.churn.gates.metrics.auc]
min = 0.8
"""
CI_SERVICE = "class Churn:\n    def predict(self, n: int) -> int:\n        return n\n"


def test_a_pipeline_deploys_the_branch_runs_gates_and_says_what_came_of_it(machine: Machine) -> None:
    project = machine.project("pipeline", CI_TOML, service_py=CI_SERVICE)
    machine.deploy(project)
    weights = project / "weights"
    weights.mkdir()
    (weights / "weights.txt").write_text("1")
    summary = machine.home.parent / "summary.md"
    machine.environment["GITHUB_HEAD_REF"] = "feature/better"
    try:
        said = machine.run("ci", "run", "--dry-run", cwd=project)
        assert said.returncode == 0 and "and run the gates of main for churn" in said.stdout
        done = machine.bough("ci", "run", "--summary", str(summary), cwd=project)
        assert (done["release"]["environment"], done["gates"]) == ("feature-better", [])
        words = ("models", "register", "churn", str(weights), "--alias", "candidate", "-e", "feature-better")
        for auc, passed in (("0.7", False), ("0.9", True)):
            (weights / "weights.txt").write_text(auc)
            machine.bough(*words, "--metric", f"auc={auc}", cwd=project)
            done = machine.bough("ci", "run", "--summary", str(summary), cwd=project, code=0 if passed else 8)
            assert passed or done["error"]["code"] == "GATES_FAILED"
    finally:
        del machine.environment["GITHUB_HEAD_REF"]
    text = summary.read_text()
    assert "### bough: pipeline/feature-better" in text and "gates for churn/2: **passed**" in text
    assert "| **failed** | metrics.auc |" in text and "| passed | metrics.auc |" in text


def said(machine: Machine, project: Path, *words: str) -> str:
    """What a person reads."""
    done = machine.run(*words, cwd=project)
    assert done.returncode == 0, done.stderr
    return done.stdout


def register(machine: Machine, project: Path, limit: int, alias: str) -> Any:
    folder = machine.home.parent / f"limit-{limit}"
    folder.mkdir()
    (folder / "limit.txt").write_text(str(limit))
    words = [
        "--metric",
        "auc=0.9",
        "--input",
        f"table:orders@{orders(machine, project)}",
        "--input",
        "dataset:history",
        "--alias",
        alias,
    ]
    return machine.bough("models", "register", "churn", str(folder), *words, cwd=project)


def orders(machine: Machine, project: Path) -> str:
    """The table's only version."""
    (only,) = machine.bough("tables", "history", "orders", cwd=project)
    return f"#{only['seq']}"


def wait(machine: Machine, made: Any, *states: str) -> Any:
    for _ in range(300):
        found = machine.asked("promotions.show", id=made["id"])["promotion"]
        if found["state"] in (*states, "done", "aborted"):
            return found
        time.sleep(0.2)
    raise AssertionError(json.dumps(found))


def ended(machine: Machine, made: Any) -> Any:
    return wait(machine, made)
