"""Bringing a model up: what is loaded when, and what is said when it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.runtime.frames import Signature, Tensor
from bough.runtime.spec import Failure

RUN = """
import sys, msgspec
from bough.runtime.models import prepare, describe_failure
from bough.runtime.spec import ModelSpec
spec = msgspec.json.decode(sys.argv[1], type=ModelSpec)
try:
    prepared = prepare(spec)
except Exception as error:
    print(msgspec.json.encode(describe_failure(error, spec)).decode())
    sys.exit(1)
print(prepared.loaded)
"""
Prepare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Prepares `code`, the project's service.py, in a process of its own."""

    def run(code: str, reference: str = "service:Model", **spec: Any) -> subprocess.CompletedProcess[str]:
        (tmp_path / "service.py").write_text(code)
        given = msgspec.json.encode({"reference": reference, "folder": str(tmp_path), **spec})
        return subprocess.run([sys.executable, "-c", RUN, given], capture_output=True, text=True, timeout=60)

    return run


GOOD = "class Model:\n    def load(self): print('loading')\n    def predict(self, x: int) -> int: return x\n"


def failed(run: subprocess.CompletedProcess[str]) -> Failure:
    assert run.returncode == 1, run.stderr
    return msgspec.json.decode(run.stdout.splitlines()[-1], type=Failure)


@pytest.mark.parametrize(
    ("code", "reference", "expected", "said", "hint"),
    [
        (GOOD, "nowhere:Model", "MODULE_MISSING", "no module 'nowhere'", "bough.toml"),
        (GOOD, "service:Modell", "CLASS_MISSING", "did you mean service:Model?", "bough.toml"),
        (GOOD, "file:gone.onnx", "FILE_MISSING", "service.py", ".boughignore"),
        ("class Model: pass", "service:Model", "CLASS_MISSING", "no method predict", "def predict"),
        ("import sklearn.nothing\n" + GOOD, "service:Model", "LIBRARY_MISSING", "sklearn", "add scikit-learn to"),
        ("import cv2\n" + GOOD, "service:Model", "LIBRARY_MISSING", "cv2", "add opencv-python-headless to"),
        ("class Model\n", "service:Model", "SYNTAX_ERROR", "service.py:1", "correct it"),
        (GOOD.replace("print('loading')", "open('w.bin')"), "service:Model", "FILE_MISSING", "w.bin", ".boughignore"),
        (GOOD.replace("print('loading')", "1/0"), "service:Model", "LOAD_FAILED", "ZeroDivisionError", "bough dev"),
        (GOOD.replace("print('loading')", "raise SystemExit"), "service:Model", "LOAD_FAILED", "SystemExit", "dev"),
        (GOOD.replace("print('loading')", "raise ValueError('unsupported pickle protocol: 9')"), "service:Model",
         "PYTHON_MISMATCH", "another Python", "python ="),
        (GOOD.replace("x: int", "*x"), "service:Model", "SIGNATURE_UNSUPPORTED", "*x", "edit predict in service"),
    ],
)  # fmt: skip
def test_every_failure_says_what_and_what_next(
    prepare: Prepare, code: str, reference: str, expected: str, said: str, hint: str
) -> None:
    failure = failed(prepare(code, reference))
    assert failure.code == expected
    assert said in failure.message
    assert hint in failure.hint


def test_the_traceback_begins_in_the_users_code(prepare: Prepare) -> None:
    failure = failed(prepare(GOOD.replace("print('loading')", "1/0")))
    _, first, second = failure.traceback.splitlines()[:3]
    assert "service.py" in first and "1/0" in second
    assert "bough/runtime" not in failure.traceback


@pytest.mark.parametrize(
    ("change", "preload", "loaded"),
    [
        ("", "auto", True), ("", "model", True), ("", "imports", False), ("", "none", False),
        ("    preload = 'imports'\n", "auto", False),
        ("    async def load(self): print('loading')\n", "auto", False),
    ],
)  # fmt: skip
def test_what_is_loaded_before_the_fork(prepare: Prepare, change: str, preload: str, loaded: bool) -> None:
    run = prepare(GOOD + change, preload=preload)
    assert run.stdout.split() == (["loading", "True"] if loaded else ["False"])


def test_with_none_not_even_the_code_is_imported_before_the_fork(prepare: Prepare) -> None:
    assert prepare("print('imported')\n" + GOOD, preload="none").stdout.split() == ["False"]
    assert prepare("print('imported')\n" + GOOD, preload="imports").stdout.split() == ["imported", "False"]


def test_paths_count_from_the_project_and_one_thread_is_set(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "weights.txt").write_text("7")
    code = "import os\n" + GOOD.replace(
        "print('loading')", "print(open('weights.txt').read(), os.environ['OMP_NUM_THREADS'])"
    )
    assert prepare(code).stdout.split() == ["7", os.environ.get("OMP_NUM_THREADS", "1"), "True"]


def test_a_function_is_a_model_too(prepare: Prepare) -> None:
    assert prepare("def predict(x: int) -> int: return x\n", "service:predict").stdout.split() == ["True"]


ASKING = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

class Model:
    def load(self):
        fitted = LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True))
        self.ask = lambda row: fitted.predict([row])
    def predict(self, x: list[float]) -> int: return int(self.ask(x)[0])
"""


def test_scikit_learn_that_a_class_asks_is_worked_out_directly(prepare: Prepare) -> None:
    said, loaded = prepare(ASKING).stdout.splitlines()
    assert said.startswith("bough: LogisticRegression worked out directly") and "direct = false" in said
    assert prepare(ASKING, direct=False).stdout.splitlines() == [loaded]


def inspect(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bough.runtime.inspect", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, timeout=60)


def test_inspect_tells_the_signature_without_loading(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(
        "from dataclasses import dataclass\nfrom typing import Optional\nimport bough\n"
        "@dataclass\nclass Row:\n    age: int\n    tags: list[str]\n    note: Optional[str] = None\n"
        "class Model:\n"
        "    def load(self): raise RuntimeError('must not be called')\n"
        "    @bough.batch\n"
        "    def predict(self, rows: list[Row]) -> list[float]: return []\n"
    )
    run = inspect(tmp_path, "service:Model")
    signature = msgspec.json.decode(run.stdout, type=Signature)
    assert signature.mode == "batch" and not signature.streams
    assert signature.input["$ref"] == "#/$defs/Row"
    assert signature.output == {"type": "number"}
    assert signature.inputs == [
        Tensor(name="age", datatype="INT64", shape=[-1]), Tensor(name="tags", datatype="BYTES", shape=[-1, -1]),
        Tensor(name="note", datatype="BYTES", shape=[-1]),
    ]  # fmt: skip
    assert signature.outputs == [Tensor(name="output", datatype="FP64", shape=[-1])]


@pytest.mark.parametrize(
    ("body", "mode", "streams", "output"),
    [
        ("def predict(self, x: int) -> str: return ''", "item", False, {"type": "string"}),
        ("async def predict(self, x: int) -> str: return ''", "concurrent", False, {"type": "string"}),
        ("def predict(self, x: int) -> Iterator[int]: yield x", "concurrent", True, {"type": "integer"}),
        ("def predict(self, x: int) -> Iterator[int]: return iter([x])", "concurrent", True, {"type": "integer"}),
        ("async def predict(self, x: int) -> AsyncIterator[int]:\n        yield x", "concurrent", True,
         {"type": "integer"}),
        ("def predict(self, x): yield x", "concurrent", True, {}),
    ],
)  # fmt: skip
def test_mode_and_streams_follow_the_function(tmp_path: Path, body: str, mode: str, streams: bool, output: Any) -> None:
    (tmp_path / "service.py").write_text(f"from collections.abc import *\nclass Model:\n    {body}\n")
    signature = msgspec.json.decode(inspect(tmp_path, "service:Model", "chat").stdout, type=Signature)
    assert (signature.mode, signature.streams, signature.output, signature.openai) == (mode, streams, output, "chat")


def test_inspect_reports_failures_as_data(tmp_path: Path) -> None:
    run = inspect(tmp_path, "service:Model")
    assert run.returncode == 1
    assert msgspec.json.decode(run.stderr.splitlines()[-1], type=Failure).code == "MODULE_MISSING"
