"""MLflow model folders, read without MLflow where that is possible.

`MLmodel` says which flavors the folder holds. An ONNX or scikit-learn flavor is opened straight from its file by our
own loaders; anything else goes through MLflow's python_function, which then must be among the requirements. A
signature in `MLmodel` names and orders the columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bough.runtime.failures import LoadError
from bough.runtime.frames import Tensor
from bough.runtime.loaders import TensorModel, onnx, sklearn
from bough.runtime.loaders.rows import required
from bough.runtime.schema import datatype_of
from bough.runtime.service import Reject, batch

MAX_BATCH = 64
_COLUMN_TYPES = {
    "double": "FP64", "float": "FP32", "integer": "INT32", "long": "INT64", "boolean": "BOOL", "string": "BYTES",
    "binary": "BYTES", "datetime": "BYTES",
}  # fmt: skip


class Column(msgspec.Struct):
    """One entry of a signature: a named column, or a tensor."""

    type: str
    name: str = ""
    tensor_spec: dict[str, Any] = msgspec.field(name="tensor-spec", default_factory=dict)


def open_model(path: Path, spec: Any) -> TensorModel:
    described = path / "MLmodel"
    if not described.exists():
        raise LoadError("FILE_MISSING", f"{path.name} holds no file MLmodel", "name the model's folder in bough.toml")
    content = required("yaml", path.name).safe_load(described.read_text("utf-8")) or {}
    flavors = content.get("flavors") or {}
    inputs, outputs = signature(content)
    if "onnx" in flavors:
        return onnx.Session(path / flavors["onnx"].get("data", "model.onnx"))
    if "sklearn" in flavors:
        flavor = flavors["sklearn"]
        estimator = sklearn.read(path / flavor.get("pickled_model", "model.pkl"), trust=spec.trust)
        return sklearn.Estimator(estimator)
    if "python_function" in flavors:
        return Function(required("mlflow.pyfunc", path.name).load_model(str(path)), inputs, outputs)
    raise LoadError(
        "FORMAT_UNKNOWN", f"{path.name} has the flavors {', '.join(flavors) or 'none'}", "log it with pyfunc too"
    )


def signature(content: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and outputs as `MLmodel` has them; empty where it has none."""
    found = content.get("signature") or {}
    return _tensors(found.get("inputs"), "input"), _tensors(found.get("outputs"), "output")


class Function(TensorModel):
    """A python_function model. It takes a DataFrame when its signature names columns, else an array."""

    platform = "mlflow_pyfunc"
    runs_code = True

    def __init__(self, model: Any, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        self._model = model
        self._numpy = required("numpy", "mlflow")
        self._named = bool(inputs) and all(len(tensor.shape) == 1 for tensor in inputs)
        self._frame = required("pandas", "mlflow").DataFrame if self._named else None
        self.inputs = inputs or [Tensor(name="input", datatype="FP64", shape=[-1, -1])]
        self.outputs = outputs or [Tensor(name="output", datatype="FP64", shape=[-1])]

    @batch(max_size=MAX_BATCH)
    def predict(self, rows: list[Any]) -> list[Any]:
        names = [tensor.name for tensor in self.inputs]
        if self._frame is None:
            given = self._numpy.asarray(rows)
        else:
            for row in rows:
                if isinstance(row, dict) and (missing := [name for name in names if name not in row]):
                    raise Reject(
                        f"columns are missing: {', '.join(missing)}", status=422, code="INPUT_INVALID", path="$"
                    )
            given = self._frame(
                [[row[name] for name in names] if isinstance(row, dict) else row for row in rows], columns=names
            )
        return self._listed(self._model.predict(given))

    def infer(self, columns: dict[str, Any]) -> dict[str, Any]:
        given = next(iter(columns.values())) if self._frame is None else self._frame(columns)
        return {self.outputs[0].name: self._numpy.asarray(self._listed(self._model.predict(given)))}

    def _listed(self, found: Any) -> list[Any]:
        if hasattr(found, "to_dict") and hasattr(found, "columns"):
            return list(found.to_dict("records"))
        return list(found.tolist() if hasattr(found, "tolist") else found)


def _tensors(text: Any, what: str) -> list[Tensor]:
    if not text:
        return []
    columns = (
        msgspec.json.decode(text, type=list[Column]) if isinstance(text, str) else msgspec.convert(text, list[Column])
    )
    found = []
    for index, column in enumerate(columns):
        name = column.name or (what if len(columns) == 1 else f"{what}_{index}")
        if column.type == "tensor":
            shape = [int(size) for size in column.tensor_spec.get("shape", [-1])]
            found.append(Tensor(name=name, datatype=datatype_of(column.tensor_spec.get("dtype", "")), shape=shape))
        else:
            found.append(Tensor(name=name, datatype=_COLUMN_TYPES.get(column.type, "BYTES"), shape=[-1]))
    return found
