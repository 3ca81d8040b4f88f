"""Model files without a class: tiny real models, saved here and served as they are."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import onnx.helper as make
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from bough.runtime.answering import Answering
from bough.runtime.failures import LoadError
from bough.runtime.frames import INFER, Tensor
from bough.runtime.loaders import safetensors
from bough.runtime.loaders.opening import open_file
from bough.runtime.models import Model
from bough.runtime.spec import ModelSpec
from tests.lazily import Lazily
from tests.runtime.test_tensors import decode, encode
from tests.runtime.wire import ask, content, error

skops = Lazily("skops.io")
X, Y = load_iris(return_X_y=True)
CLASSIFIER = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)


def opened(path: Path, **spec: Any) -> Answering:
    wanted = ModelSpec(reference=f"file:{path.name}", folder=str(path.parent), **spec)
    return Answering(Model(wanted, open_file(wanted)), "m")


def infer(service: Answering, inputs: dict[str, Any]) -> dict[str, Any]:
    body, meta = encode(inputs, parameters={"binary_data_output": True})
    return decode(ask(service, body, verb=INFER, meta=meta)[0])


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    skops.dump(CLASSIFIER, tmp_path / "iris.skops")
    return tmp_path / "iris.skops"


def test_a_skops_classifier_answers_labels_and_probabilities(classifier: Path) -> None:
    service = opened(classifier)
    assert service.model.mode == "batch"
    replies = ask(service, *X[::25].tolist())
    assert [content(reply)["label"] for reply in replies] == CLASSIFIER.predict(X[::25]).tolist()
    expected = CLASSIFIER.predict_proba(X[::25])
    assert np.allclose([content(reply)["probabilities"] for reply in replies], expected)


def test_a_bad_row_fails_alone_and_is_told_what_is_wrong(classifier: Path) -> None:
    replies = ask(opened(classifier), X[0].tolist(), [1, 2], X[1].tolist(), [1, 2, 3, "x"], {"a": 1}, 7)
    assert [reply.status for reply in replies] == [200, 422, 200, 422, 422, 422]
    assert error(replies[1])["message"] == "Expected a list of 4 values, got 2 values"


def test_tensors_go_to_the_classifier_as_they_are(classifier: Path) -> None:
    service = opened(classifier)
    signature = service.model.signature
    assert signature.inputs == [Tensor(name="input", datatype="FP64", shape=[-1, 4])]
    assert [tensor.name for tensor in signature.outputs] == ["label", "probabilities"]
    assert signature.input["minItems"] == 4 and signature.platform == "sklearn"
    found = infer(service, {"input": X.astype("f4")})
    assert found["label"].tolist() == CLASSIFIER.predict(X).tolist()
    assert np.allclose(found["probabilities"], CLASSIFIER.predict_proba(X), atol=1e-5)


def test_tensor_requests_of_one_frame_are_one_call_and_bad_ones_fail_alone(classifier: Path) -> None:
    service = opened(classifier)
    tensors = service.model.tensors
    assert tensors is not None
    calls: list[int] = []
    inner = tensors.infer
    tensors.infer = lambda columns: (calls.append(len(columns["input"])), inner(columns))[1]  # type: ignore[method-assign]
    bodies = [encode({"input": X[n : n + n + 1]}, binary=False)[0] for n in range(4)]
    replies = ask(service, *bodies, encode({"input": X[:, :3]}, binary=False)[0], verb=INFER)
    assert [reply.status for reply in replies] == [200] * 4 + [400]
    assert [len(decode(reply)["label"]) for reply in replies[:4]] == [1, 2, 3, 4]
    assert calls == [10]


def test_regressors_answer_bare_numbers(tmp_path: Path) -> None:
    model = LinearRegression().fit(X[:, :2], X[:, 2])
    skops.dump(model, tmp_path / "m.skops")
    [reply] = ask(opened(tmp_path / "m.skops"), X[0, :2].tolist())
    assert content(reply) == pytest.approx(float(model.predict(X[:1, :2])[0]))


def test_names_of_columns_order_the_values_and_pipelines_get_frames(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder

    frame = pandas.DataFrame({"plan": ["a", "b", "a", "c"], "months": [1.0, 2.0, 3.0, 4.0]})
    columns = ColumnTransformer([("plan", OneHotEncoder(), ["plan"]), ("rest", "passthrough", ["months"])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, ["no", "yes", "no", "yes"])
    joblib.dump(model, tmp_path / "m.joblib")
    service = opened(tmp_path / "m.joblib", trust=True)
    replies = ask(service, {"months": 2, "plan": "b"}, ["a", 1.0], {"plan": "a"})
    assert [reply.status for reply in replies] == [200, 200, 422]
    assert [content(reply)["label"] for reply in replies[:2]] == ["yes", "no"]
    assert "months" in error(replies[2])["message"]


@pytest.mark.parametrize("suffix", [".joblib", ".pkl"])
def test_pickles_need_trust_and_warn(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"m{suffix}"
    joblib.dump(CLASSIFIER, path) if suffix == ".joblib" else path.write_bytes(pickle.dumps(CLASSIFIER))
    with pytest.raises(LoadError) as caught:
        opened(path)
    assert caught.value.code == "FORMAT_UNTRUSTED" and "skops" in caught.value.hint
    [reply] = ask(opened(path, trust=True), X[0].tolist())
    assert content(reply)["label"] == 0
    assert "is a pickle and was read because trust = true" in capsys.readouterr().err


def test_a_pickle_is_not_read_before_it_is_trusted(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(LoadError):
        opened(tmp_path / "m.pkl")
    assert not (tmp_path / "exploded").exists()


def double(rows: Any) -> Any:
    return rows * 2


def test_skops_types_that_are_not_known_need_trust_and_are_named(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(double), LinearRegression()).fit(X, Y)
    skops.dump(model, tmp_path / "m.skops")
    with pytest.raises(LoadError, match="double") as caught:
        opened(tmp_path / "m.skops")
    assert caught.value.code == "FORMAT_UNTRUSTED"
    assert ask(opened(tmp_path / "m.skops", trust=True), X[0].tolist())[0].status == 200


def onnx_file(path: Path, nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], **weights: Any) -> Path:
    def info(name: str, kind: int, shape: list[Any]) -> Any:
        return make.make_tensor_value_info(name, kind, shape)

    graph = make.make_graph(
        nodes, "g", [info(name, *what) for name, what in inputs.items()],
        [info(name, *what) for name, what in outputs.items()],
        [onnx.numpy_helper.from_array(np.asarray(value, "f4"), name) for name, value in weights.items()],
    )  # fmt: skip
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9), path)
    return path


FLOAT, TEXT = onnx.TensorProto.FLOAT, onnx.TensorProto.STRING


def test_an_onnx_model_with_one_input_takes_bare_rows(tmp_path: Path) -> None:
    nodes = [make.make_node("MatMul", ["x", "w"], ["y"])]
    path = onnx_file(
        tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", 3])}, {"y": (FLOAT, ["n", 2])}, w=[[1, 0], [0, 1], [1, 1]]
    )
    service = opened(path)
    replies = ask(service, [1, 2, 3], [1, 2], [4, 5, 6])
    assert [reply.status for reply in replies] == [200, 422, 200]
    assert [content(replies[n]) for n in (0, 2)] == [[4.0, 5.0], [10.0, 11.0]]
    assert service.model.signature.inputs == [Tensor(name="x", datatype="FP32", shape=[-1, 3])]
    assert infer(service, {"x": np.eye(3)})["y"].tolist() == [[1, 0], [0, 1], [1, 1]]


def test_an_onnx_model_with_several_takes_objects(tmp_path: Path) -> None:
    nodes = [make.make_node("Add", ["a", "b"], ["sum"]), make.make_node("Mul", ["a", "b"], ["product"])]
    shape = (FLOAT, ["n"])
    service = opened(onnx_file(tmp_path / "m.onnx", nodes, {"a": shape, "b": shape}, {"sum": shape, "product": shape}))
    replies = ask(service, {"a": 2, "b": 3}, {"a": 1}, [2, 3])
    assert [reply.status for reply in replies] == [200, 422, 422]
    assert content(replies[0]) == {"sum": 5.0, "product": 6.0}
    assert service.model.signature.input["required"] == ["a", "b"]
    assert infer(service, {"b": np.array([1.0]), "a": np.array([4.0])})["sum"].tolist() == [5.0]


def test_an_onnx_model_made_for_one_row_serves_batches_all_the_same(tmp_path: Path) -> None:
    nodes = [make.make_node("Neg", ["x"], ["y"])]
    service = opened(onnx_file(tmp_path / "m.onnx", nodes, {"x": (FLOAT, [1, 2])}, {"y": (FLOAT, [1, 2])}))
    assert [content(reply) for reply in ask(service, [1, 2], [3, 4])] == [[-1.0, -2.0], [-3.0, -4.0]]
    assert infer(service, {"x": np.ones((3, 2), "f4")})["y"].shape == (3, 2)


def test_an_onnx_model_may_take_and_give_text(tmp_path: Path) -> None:
    nodes = [make.make_node("Identity", ["x"], ["y"])]
    service = opened(onnx_file(tmp_path / "m.onnx", nodes, {"x": (TEXT, ["n"])}, {"y": (TEXT, ["n"])}))
    assert content(ask(service, "häh")[0]) == "häh"
    assert infer(service, {"x": ["a", "bc"]})["y"].tolist() == ["a", "bc"]


def safetensors_file(path: Path, **tensors: Any) -> Path:
    header, data = {}, b""
    for name, (kind, array) in tensors.items():
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    text = json.dumps({"__metadata__": {"format": "np"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_safetensors_are_given_to_the_projects_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = safetensors_file(tmp_path / "m.safetensors", w=("F32", np.array([1, 2, 3], "f4")))
    (tmp_path / "m.loader").write_text("weights_st:build\n")
    (tmp_path / "weights_st.py").write_text(
        "import bough\n"
        "class Dot:\n"
        "    def __init__(self, w): self.w = w\n"
        "    @bough.batch\n"
        "    def predict(self, rows: list[list[float]]) -> list[float]:\n"
        "        return [float(self.w @ row) for row in rows]\n"
        "def build(tensors): return Dot(tensors['w'])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert content(ask(opened(path), [1, 1, 1])[0]) == 6.0
    (tmp_path / "m.loader").unlink()
    with pytest.raises(LoadError, match=r"no m\.loader beside it"):
        opened(path)


def test_safetensors_of_every_kind_are_read(tmp_path: Path) -> None:
    halves = (np.array([1.5, -2.0], "f4").view("u4") >> 16).astype("u2")
    path = safetensors_file(
        tmp_path / "m.safetensors", half=("BF16", halves), flag=("BOOL", np.array([True])), scalar=("I64", np.array(7)),
        empty=("F32", np.zeros((0, 3), "f4")),
    )  # fmt: skip
    found = safetensors.read(path)
    assert found["half"].tolist() == [1.5, -2.0] and found["scalar"] == 7 and found["empty"].shape == (0, 3)
    assert found["flag"].tolist() == [True]


@pytest.mark.parametrize("damage", [b"", b"\xff" * 64, struct.pack("<Q", 2) + b"{}x", struct.pack("<Q", 60) + b'{"a"'])
def test_a_damaged_safetensors_file_is_told(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(damage)
    if damage.endswith(b"x"):
        assert safetensors.read(path) == {}
        return
    with pytest.raises(LoadError, match="no safetensors file"):
        safetensors.read(path)


def test_mlflow_folders_are_read_without_mlflow(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(pickle.dumps(CLASSIFIER))
    columns = json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}])
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"
        "  sklearn:\n    pickled_model: model.pkl\n    serialization_format: cloudpickle\n"
        f"signature:\n  inputs: '{columns}'\n"
    )
    with pytest.raises(LoadError) as caught:
        opened(folder)
    assert caught.value.code == "FORMAT_UNTRUSTED"
    assert content(ask(opened(folder, trust=True), X[0].tolist())[0])["label"] == 0


def test_mlflow_onnx_needs_no_trust_and_other_flavors_need_mlflow(tmp_path: Path) -> None:
    nodes = [make.make_node("Neg", ["x"], ["y"])]
    onnx_file(tmp_path / "model.onnx", nodes, {"x": (FLOAT, ["n"])}, {"y": (FLOAT, ["n"])})
    (tmp_path / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\n")
    assert content(ask(opened(tmp_path), 3)[0]) == -3.0
    (tmp_path / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: mlflow.prophet\n")
    with pytest.raises(LoadError) as caught:
        opened(tmp_path)
    assert (caught.value.code, caught.value.hint) == ("LIBRARY_MISSING", "add mlflow to requirements.txt")


@pytest.mark.parametrize(("name", "code"), [("gone.onnx", "FILE_MISSING"), ("m.weights", "FORMAT_UNKNOWN")])
def test_files_that_nothing_opens(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "m.weights").touch()
    with pytest.raises(LoadError) as caught:
        opened(tmp_path / name)
    assert caught.value.code == code and "m.weights" in str(caught.value) and caught.value.hint
