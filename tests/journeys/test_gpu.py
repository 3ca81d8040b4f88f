"""Services and jobs on a real NVIDIA GPU, with PyTorch; skipped where there is none.

python -m pytest tests/journeys/test_gpu.py
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.machine import Machine, kill, wait_until

TORCH = importlib.util.find_spec("torch")
pytestmark = pytest.mark.skipif(
    not (Path("/dev/nvidia0").exists() and TORCH and TORCH.origin), reason="needs an NVIDIA GPU and PyTorch"
)
PACKAGES = Path(TORCH.origin).parent.parent if TORCH and TORCH.origin else Path()

# The way everybody writes it: what decides about the device runs at import, before Bough forks.
SERVICE = """import os
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

class Product:
    def load(self):
        self.weights = torch.eye(256, device=DEVICE) * {factor}

    def predict(self, value: float) -> dict:
        out = (torch.full((256,), value, device=DEVICE) @ self.weights).sum().item()
        return {{"sum": out, "device": str(self.weights.device), "sees": os.environ["CUDA_VISIBLE_DEVICES"],
                "count": torch.cuda.device_count(), "pid": os.getpid()}}
"""

BUSY = """import time
import torch

class Busy:
    def load(self):
        self.matrix = torch.randn(4096, 4096, device="cuda")

    def predict(self, seconds: float) -> float:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            torch.mm(self.matrix, self.matrix)
            torch.cuda.synchronize()
        return seconds
"""

TRAIN = """import os, time, torch
from bough import checkpoint

torch.manual_seed(0)
model = torch.nn.Linear(512, 512).cuda()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
ckpt = checkpoint.open()
ckpt.every(5)
state = {"model": model, "optimizer": optimizer}
for step in range(ckpt.restore(state).step, 60):
    inputs = torch.randn(64, 512, device="cuda")
    loss = ((model(inputs) - inputs.roll(1, 1)) ** 2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    time.sleep(0.03)
    ckpt.save(step + 1, state)
    if ckpt.should_stop():
        break
else:
    ckpt.done()
    print("sum", f"{sum(float(each.double().sum()) for each in model.parameters()):.9f}", flush=True)
"""


def toml(model: str, gpus: str = "1", more: str = "") -> str:
    return (
        f'[services.api]\nmodel = "service:{model}"\nhealth_timeout_s = 120\nresources = {{ gpus = {gpus} }}\n'
        f'env = {{ PYTHONPATH = "{PACKAGES}" }}\n{more}'
    )


def replicas(machine: Machine, project: Path) -> dict[str, list[Any]]:
    """By service, those that live."""
    services = machine.bough("status", cwd=project)["services"]
    return {each["service"]: [one for one in each["replicas"] if one["state"] != "exited"] for each in services}


def used_s(machine: Machine, project: Path, service: str = "api") -> float:
    return float(sum(each.get("gpu_s", 0.0) for each in replicas(machine, project)[service]))


def test_a_release_takes_the_only_gpu_over_without_an_outage_and_a_killed_replica_gets_it_back(
    own_machine: Machine,
) -> None:
    project = own_machine.project("cuda", toml("Product"), service_py=SERVICE.format(factor=1))
    own_machine.deploy(project)
    first = own_machine.predict("api", 2.0)
    assert first["device"] == "cuda:0" and first["count"] == 1 and first["sees"].startswith("GPU-"), first
    assert abs(first["sum"] - 512.0) < 1e-3
    load = own_machine.load("/v1/api/predict", 2.0, connections=2)
    (project / "service.py").write_text(SERVICE.format(factor=3))
    own_machine.deploy(project)
    second = own_machine.predict("api", 2.0)
    told = load.stop()
    assert told["failed"] == 0 and told["requests"] > 0, told
    assert abs(second["sum"] - 1536.0) < 1e-3 and second["sees"] == first["sees"]
    kill(second["pid"])
    third = own_machine.predict("api", 2.0)
    assert third["pid"] != second["pid"] and third["sees"] == first["sees"] and third["device"] == "cuda:0"


def test_a_service_that_asks_for_none_sees_none(own_machine: Machine) -> None:
    project = own_machine.project("bare", toml("Product", "0"), service_py=SERVICE.format(factor=1))
    own_machine.deploy(project)
    answer = own_machine.predict("api", 2.0)
    assert (answer["device"], answer["sees"], answer["count"]) == ("cpu", "", 0)


def test_device_seconds_are_those_in_which_kernels_ran(own_machine: Machine) -> None:
    project = own_machine.project("busy", toml("Busy"), service_py=BUSY)
    own_machine.deploy(project)
    own_machine.predict("api", 0.1)
    time.sleep(2.0)
    before = used_s(own_machine, project)
    assert own_machine.ask("/v1/api/predict", 6.0)[0] == 200
    time.sleep(2.0)
    between = used_s(own_machine, project)
    time.sleep(6.0)
    after = used_s(own_machine, project)
    print("busy for 6 s:", between - before, "idle for 6 s:", after - between)
    assert 4.0 < between - before < 8.0
    assert after - between < 1.0


def test_halves_of_a_gpu_are_shared_and_measured_apart(own_machine: Machine) -> None:
    both = toml("Busy", "0.5") + toml("Busy", "0.5").replace("services.api", "services.idle")
    project = own_machine.project("halves", both, service_py=BUSY)
    own_machine.deploy(project)
    for name in ("api", "idle"):
        own_machine.predict(name, 0.1)
    time.sleep(2.0)
    assert own_machine.ask("/v1/api/predict", 6.0)[0] == 200
    time.sleep(2.0)
    there = {name: each[0] for name, each in replicas(own_machine, project).items()}
    print({name: used_s(own_machine, project, name) for name in there})
    assert there["api"]["devices"] == there["idle"]["devices"] != []
    assert used_s(own_machine, project) > 2.0 > 0.5 > used_s(own_machine, project, "idle")


def test_a_gpu_that_is_taken_hold_of_while_modules_are_imported_still_works_in_replicas(own_machine: Machine) -> None:
    code = SERVICE.format(factor=1).replace("DEVICE =", 'torch.ones(1, device="cuda")\nDEVICE =')
    project = own_machine.project("hasty", toml("Product"), service_py=code)
    own_machine.deploy(project)
    assert own_machine.predict("api", 2.0)["device"] == "cuda:0"
    print([path.read_text() for path in own_machine.home.glob("zygotes/*/ready.json")])


def test_a_busy_gpu_asks_for_more_replicas(own_machine: Machine) -> None:
    scale = 'concurrency = 1\nscale = { min = 1, max = 3, signals = ["gpu"] }\n'
    project = own_machine.project("grows", toml("Busy", "0.25", scale), service_py=BUSY)
    own_machine.deploy(project)
    load = own_machine.load("/v1/api/predict", 0.05, connections=2)
    try:
        wait_until(lambda: len(replicas(own_machine, project)["api"]) > 1, "a second replica", 60)
    finally:
        told = load.stop()
    assert told["failed"] == 0, told


def test_a_job_trains_on_the_gpu_and_after_a_kill_ends_with_the_same_weights(own_machine: Machine) -> None:
    job = f'[jobs.fit]\ncommand = "{sys.executable} train.py"\nresources = {{ gpus = 1 }}\n'
    job += f'env = {{ PYTHONPATH = "{PACKAGES}" }}\nretries = {{ error = 3 }}\n'
    project = own_machine.project("train", job, train_py=TRAIN)
    own_machine.deploy(project)
    sums = []
    for interrupted in (False, True):
        run = own_machine.bough("jobs", "run", "fit", cwd=project)["id"]

        def shown(run: str = run) -> Any:
            return own_machine.bough("jobs", "show", run, cwd=project)

        if interrupted:
            wait_until(lambda: shown().get("progress", {}).get("step", 0) > 10, "it trains", 60)
            kill(own_machine.pid_of(f"{run}-0"))
        wait_until(lambda: shown()["run"].get("finished_at"), "its end", 120)
        assert shown()["run"]["state"] == "succeeded", shown()
        said = own_machine.run("jobs", "logs", run, cwd=project).stdout
        sums.append([line for line in said.splitlines() if "sum " in line][-1].split("sum ")[1])
    assert sums[0] == sums[1]
