"""Jobs on a real machine, through the command line."""

from __future__ import annotations

from tests.journeys.machine import Machine

TRAIN = """
import json, os, pathlib
import bough

lr = bough.params()["lr"]
print("training with", lr)
with bough.run() as run:
    for step in range(3):
        run.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
(pathlib.Path(os.environ["BOUGH_OUTPUT"]) / "weights.json").write_text(json.dumps([lr] * 3))
"""


def test_a_job_of_a_folder_trains_reports_and_leaves_its_files(machine: Machine) -> None:
    folder = machine.project("lab", '[jobs.fit]\ncommand = "python train.py"\nparams = { lr = 0.1 }\n', train_py=TRAIN)
    done = machine.bough("train", "--params", "lr=0.5", cwd=folder)
    assert done["state"] == "succeeded" and done["said"] == "exit status 0"
    run = machine.bough("runs", "show", done["run"], cwd=folder)
    assert run["status"] == "finished" and run["params"] == {"lr": "0.5"}
    assert [each["step"] for each in run["metrics"]] == [2]
    files = machine.bough("artifacts", "list", done["run"], cwd=folder)
    assert [each["path"] for each in files] == ["weights.json"]
    assert "training with 0.5" in machine.run("jobs", "logs", done["id"], cwd=folder).stdout
    (folder / "train.py").write_text("import sys\nprint('no data')\nsys.exit(3)\n")
    failed = machine.run("train", cwd=folder)
    assert failed.returncode == 8 and "exit status 3" in failed.stderr and "no data" in failed.stdout
