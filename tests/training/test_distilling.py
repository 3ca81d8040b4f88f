"""The job that `bough optimize distill` writes: a real teacher, a real student."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from bough.entrypoints.cli import init
from bough.entrypoints.cli.optimize_distill import TEMPLATE
from tests.optimizing import digits

ROOT = Path(__file__).parents[2]


@pytest.fixture
def student(tmp_path: Path) -> Path:
    init.lay_out(tmp_path, TEMPLATE, "lab")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "model.onnx").write_bytes(digits.as_onnx())
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train.npz").write_bytes(digits.calibration(1000))
    return tmp_path


def run(folder: Path, **params: object) -> str:
    chosen = {"transfer": "images/train.npz", "label": "digit"} | params
    variables = {"BOUGH_DATA": str(folder), "BOUGH_PARAMS": json.dumps(chosen), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "distill.py"], cwd=folder, env=os.environ | variables, capture_output=True, text=True,
        timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_student_learns_what_its_teacher_says_without_any_label(student: Path) -> None:
    assert "a student of 7104 weights, from 1000 rows" in run(student)
    _, _, test, labels = digits.split()
    small = onnxruntime.InferenceSession(student / "output/model.onnx")
    assert [each.name for each in (*small.get_inputs(), *small.get_outputs())] == ["pixels", "scores"]
    (scores,) = small.run(["scores"], {"pixels": test})
    assert (scores.argmax(1) == labels).mean() > 0.9
    assert (student / "output/model.onnx").stat().st_size < len(digits.as_onnx()) / 10
