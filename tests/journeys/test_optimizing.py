"""A model becomes smaller on a running platform: in a confined unit, through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bough.kernel.project import resolve
from bough.kernel.settings import Document
from tests.journeys.machine import Machine
from tests.optimizing import digits


def test_a_smaller_version_is_made_and_a_student_is_prepared(machine: Machine, tmp_path: Path) -> None:
    project = machine.project("small", "", **{"note.txt": "nothing to serve"})
    for name, content in (
        ("model.onnx", digits.as_onnx()),
        ("test.npz", digits.npz()),
        ("train.npz", digits.calibration()),
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
                  "--label", "digit", cwd=project)  # fmt: skip
    job = resolve(Document.read(folder / "bough.toml")).jobs["distill"]
    assert (job.register, job.distill.teacher, job.data) == ("digits-small", "digits/1", ["images"])
    assert (folder / "teacher" / "model.onnx").read_bytes() == digits.as_onnx()
