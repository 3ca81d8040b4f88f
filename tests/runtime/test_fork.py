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
import skops.io
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

SCRIPT = """
import os, signal, sys, msgspec
from bough.runtime.answering import Answering
from bough.runtime.frames import PREDICT, Request
from bough.runtime.models import prepare
from bough.runtime.spec import ModelSpec
reference, folder, row = sys.argv[1:]
prepared = prepare(ModelSpec(reference=reference, folder=folder))
assert prepared.loaded, "expected to load before the fork"
answering = Answering(prepared.model(), "m")
ask = lambda: [reply.body for reply in answering.answer_batch([Request(n, PREDICT, row.encode()) for n in range(40)])]
before = ask()
threads = len(os.listdir("/proc/self/task"))
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # a library that waits for threads that are gone never comes back
        os._exit(0 if ask() == before else 1)
    assert os.waitpid(pid, 0)[1] == 0
print(threads, before[0].decode())
"""


def forked(reference: str, folder: Path, row: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, reference, str(folder), row], capture_output=True, text=True, timeout=90
    )
    assert run.returncode == 0, run.stderr
    threads, _, answer = run.stdout.strip().partition(" ")
    assert threads == "1", "nothing that was loaded may leave threads behind"
    return answer


@pytest.mark.parametrize("kind", [RandomForestClassifier, HistGradientBoostingClassifier])
def test_scikit_learn_with_openmp(tmp_path: Path, kind: type) -> None:
    x, y = load_iris(return_X_y=True)
    options = {"n_estimators": 5} if kind is RandomForestClassifier else {"max_iter": 5}
    skops.io.dump(kind(**options).fit(x, y), tmp_path / "m.skops")
    assert '"label":0' in forked("file:m.skops", tmp_path, str(x[0].tolist()))


def test_onnxruntime(tmp_path: Path) -> None:
    kind = onnx.TensorProto.FLOAT
    graph = make.make_graph(
        [make.make_node("MatMul", ["x", "w"], ["y"])], "g", [make.make_tensor_value_info("x", kind, ["n", 64])],
        [make.make_tensor_value_info("y", kind, ["n", 2])], [onnx.numpy_helper.from_array(np.ones((64, 2), "f4"), "w")],
    )  # fmt: skip
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    assert forked("file:m.onnx", tmp_path, str([1.0] * 64)) == "[64.0,64.0]"


def test_numpy_with_its_linear_algebra(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(
        "import bough, numpy as np\n"
        "class Model:\n"
        "    def load(self): self.w = np.ones((512, 512)); self.w @ self.w\n"
        "    @bough.batch(max_size=64)\n"
        "    def predict(self, rows: list[float]) -> list[float]:\n"
        "        return (self.w[: len(rows)] @ self.w @ self.w[:, 0]).tolist()\n"
    )
    assert forked("service:Model", tmp_path, "1") == "262144.0"


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed here")
@pytest.mark.parametrize("suffix", ["pt", "pt2"])
def test_pytorch(tmp_path: Path, suffix: str) -> None:
    subprocess.run([sys.executable, "-c", TORCH, str(tmp_path / f"m.{suffix}")], check=True, timeout=90)
    assert forked(f"file:m.{suffix}", tmp_path, str([1.0] * 64)) == "[64.0]"


TORCH = """
import sys, torch
layer = torch.nn.Linear(64, 1, bias=False)
torch.nn.init.ones_(layer.weight)
rows = torch.ones(4, 64)
if sys.argv[1].endswith("pt2"):
    free = {"input": {0: torch.export.Dim("n", min=2, max=4096)}}
    torch.export.save(torch.export.export(layer, (rows,), dynamic_shapes=free), sys.argv[1])
else:
    torch.jit.save(torch.jit.trace(layer, rows), sys.argv[1])
"""
