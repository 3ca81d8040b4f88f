"""A model becomes smaller on a running platform: in a confined unit, through the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bough.kernel.project import resolve
from bough.kernel.settings import Document
from tests.journeys.machine import Machine, wait_until
from tests.optimizing import digits


def test_a_smaller_version_is_made_and_a_student_learns_from_its_teacher(machine: Machine, tmp_path: Path) -> None:
    project = machine.project("small", "", **{"note.txt": "nothing to serve"})
    for name, content in (
        ("model.onnx", digits.as_onnx()),
        ("test.npz", digits.npz()),
        ("train.npz", digits.calibration(1000)),
    ):
        (tmp_path / name).write_bytes(content)
    machine.bough("models", "register", "digits", str(tmp_path / "model.onnx"), "--alias", "champion", cwd=project)
    for name in ("test.npz", "train.npz"):
        machine.bough("data", "put", str(tmp_path / name), f"images/{name}", cwd=project)

    ask = ["optimize", "quantize", "digits@champion", "images/test.npz", "--label", "digit"]
    made = machine.bough(*ask, "--calibration", "images/train.npz", "--core-hour", "0.05", cwd=project)
    assert made["state"] == "done" and made["version"] == 2, made
    assert {each["name"] for each in made["contenders"]} == {"before", "dynamic", "static"}
    said = machine.run("optimize", "show", made["id"], cwd=project).stdout
    assert "ACCURACY" in said and "COST/1000" in said and "registered digits/2" in said

    np.savez(tmp_path / "zeros.npz", pixels=np.zeros((50, 64), np.float32))  # ranges that cut everything off
    machine.bough("data", "put", str(tmp_path / "zeros.npz"), "images/zeros.npz", cwd=project)
    refused = machine.run(*ask, "--method", "static", "--calibration", "images/zeros.npz", cwd=project)
    assert refused.returncode == 8 and "OPTIMIZATION_REFUSED" in refused.stderr, refused.stderr

    folder = tmp_path / "student"
    machine.bough("optimize", "distill", "digits@champion", "images/train.npz", "images/test.npz", str(folder),
                  "--label", "digit", "--max-loss", "0.05", cwd=project)  # fmt: skip
    job = resolve(Document.read(folder / "bough.toml")).jobs["distill"]
    assert (job.register, job.distill.teacher, job.data) == ("digits-small", "digits/1", ["images"])
    assert (folder / "teacher" / "model.onnx").read_bytes() == digits.as_onnx()

    few = ["--params", "epochs=40"]  # the default is tried in tests/training/test_distilling.py
    trained = machine.run("train", *few, cwd=folder, timeout_s=500)
    assert trained.returncode == 0 and "it is measured beside its teacher digits/1" in trained.stdout, trained
    wait_until(lambda: student(machine)["state"] != "running", "the student is measured")
    made = machine.bough("optimize", "show", student(machine)["id"], cwd=folder)
    before, after = made["contenders"]
    assert (made["state"], made["version"], before["name"], after["name"]) == ("done", 1, "before", "after"), made
    assert after.get("loss", 0.0) <= 0.05 and after["bytes"] < before["bytes"] / 10 and after["p50_ms"] > 0
    table = machine.run("optimize", "show", made["id"], cwd=folder).stdout
    assert "ACCURACY" in table and "registered digits-small/1" in table

    small = machine.bough("models", "resolve", "digits-small@candidate", cwd=folder)
    (run,) = machine.bough("jobs", "list", cwd=folder)
    assert (small["facts"]["parent"], small["facts"]["run"]) == ("digits/1", run["run"])
    teacher = machine.bough("models", "resolve", "digits/1", cwd=folder)
    arrows = machine.bough("lineage", "digits-small/1", "--up", cwd=folder)["arrows"]
    edge = {"source": f"version:{teacher['id']}", "target": f"version:{small['id']}", "how": "trained on from"}
    assert edge in arrows, arrows
    timeline = machine.bough("jobs", "show", run["id"], cwd=folder)["timeline"]
    (said,) = (each["said"] for each in timeline if each["what"] == "registered")
    assert said.startswith("digits-small/1 from digits/1: ")


def student(machine: Machine) -> Any:
    (found,) = (each for each in machine.asked("optimize.list", project="small") if each["kind"] == "distill")
    return found
