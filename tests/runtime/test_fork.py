"""What is loaded, and has even run, in a zygote still answers in forks of it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as make
import pytest

SCRIPT = """
import os, signal, sys, msgspec
from bough.runtime.answering import Answering
from bough.runtime.frames import PREDICT, Request
from bough.runtime.models import prepare
from bough.runtime.spec import ModelSpec
folder, row, *references = sys.argv[1:]
prepared = [prepare(ModelSpec(reference=each, folder=folder)) for each in references]
assert all(each.loaded for each in prepared), "expected to load before the fork"
answering = [Answering(each.model(), "m") for each in prepared]
rows = [Request(n, PREDICT, row.encode()) for n in range(40)]
ask = lambda: [reply.body for each in answering for reply in each.answer_batch(rows)]
before = ask()
threads = len(os.listdir("/proc/self/task"))
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # a library that waits for threads that are gone never comes back
        os._exit(0 if ask() == before else 1)
    assert os.waitpid(pid, 0)[1] == 0
print(threads, *[each.decode() for each in before[::40]])
"""


def forked(folder: Path, row: object, *references: str) -> list[str]:
    """What each of these models, all in one zygote, answers for the row."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(row), *references], capture_output=True, text=True, timeout=90
    )
    assert run.returncode == 0, run.stderr
    threads, *answers = run.stdout.split()
    assert threads == "1", "nothing that was loaded may leave threads behind"
    return answers


def made(program: str, folder: Path) -> None:
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, timeout=90)


def test_scikit_learn_with_openmp(tmp_path: Path) -> None:
    made(SKLEARN, tmp_path)
    answers = forked(tmp_path, [5.1, 3.5, 1.4, 0.2], "file:forest.skops", "file:boosting.skops")
    assert len(answers) == 2 and all('"label":0' in each for each in answers)


SKLEARN = """
import sys, skops.io
from pathlib import Path
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
models = {"forest": RandomForestClassifier(n_estimators=5), "boosting": HistGradientBoostingClassifier(max_iter=5)}
for name, model in models.items():
    skops.io.dump(model.fit(*load_iris(return_X_y=True)), Path(sys.argv[1], f"{name}.skops"))
"""


def test_onnxruntime(tmp_path: Path) -> None:
    kind = onnx.TensorProto.FLOAT
    graph = make.make_graph(
        [make.make_node("MatMul", ["x", "w"], ["y"])], "g", [make.make_tensor_value_info("x", kind, ["n", 64])],
        [make.make_tensor_value_info("y", kind, ["n", 2])], [onnx.numpy_helper.from_array(np.ones((64, 2), "f4"), "w")],
    )  # fmt: skip
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    assert forked(tmp_path, [1.0] * 64, "file:m.onnx") == ["[64.0,64.0]"]


def test_numpy_with_its_linear_algebra(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(
        "import bough, numpy as np\n"
        "class Model:\n"
        "    def load(self): self.w = np.ones((512, 512)); self.w @ self.w\n"
        "    @bough.batch(max_size=64)\n"
        "    def predict(self, rows: list[float]) -> list[float]:\n"
        "        return (self.w[: len(rows)] @ self.w @ self.w[:, 0]).tolist()\n"
    )
    assert forked(tmp_path, 1, "service:Model") == ["262144.0"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed here")
def test_pytorch(tmp_path: Path) -> None:
    made(TORCH, tmp_path)
    assert forked(tmp_path, [1.0] * 64, "file:m.pt", "file:m.pt2") == ["[64.0]"] * 2


TORCH = """
import sys, torch
from pathlib import Path
layer = torch.nn.Linear(64, 1, bias=False)
torch.nn.init.ones_(layer.weight)
rows = torch.ones(4, 64)
free = {"input": {0: torch.export.Dim("n", min=2, max=4096)}}
torch.export.save(torch.export.export(layer, (rows,), dynamic_shapes=free), Path(sys.argv[1], "m.pt2"))
torch.jit.save(torch.jit.trace(layer, rows), Path(sys.argv[1], "m.pt"))
"""
