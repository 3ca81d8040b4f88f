"""ONNX models through onnxruntime.

The session has one intra-op and one inter-op thread: then it runs in the calling thread, starts none of its own, and
survives a fork. Replicas are the parallelism.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bough.runtime.frames import Tensor
from bough.runtime.loaders import TensorModel
from bough.runtime.loaders.rows import required, to_columns, to_rows
from bough.runtime.service import batch

MAX_BATCH = 64
_DATATYPES = {
    "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16", "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES", **{f"tensor(int{n})": f"INT{n}" for n in (8, 16, 32, 64)},
    **{f"tensor(uint{n})": f"UINT{n}" for n in (8, 16, 32, 64)},
}  # fmt: skip
_NUMPY = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BOOL": "bool", "BYTES": "object"}


def open_model(path: Path, spec: Any) -> TensorModel:
    return Session(path)


class Session(TensorModel):
    platform = "onnx"

    def __init__(self, path: Path) -> None:
        runtime = required("onnxruntime", path.name)
        self._numpy = required("numpy", path.name)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = (
            False  # it would keep the largest batch's memory in every replica, at equal speed
        )
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [_tensor(node) for node in self._session.get_inputs()]
        self.outputs = [_tensor(node) for node in self._session.get_outputs() if node.type in _DATATYPES]
        self._all_outputs = [node.name for node in self._session.get_outputs()]
        self._dtypes = [_NUMPY.get(tensor.datatype, tensor.datatype.lower()) for tensor in self.inputs]
        # A model whose first dimension is fixed at one takes rows one by one.
        self._fixed = any(node.shape[:1] == [1] for node in self._session.get_inputs())

    @batch(max_size=MAX_BATCH)
    def predict(self, rows: list[Any]) -> list[Any]:
        return to_rows(self._run(to_columns(rows, self.inputs, self._dtypes), self._all_outputs), len(rows))

    def infer(self, columns: dict[str, Any]) -> dict[str, Any]:
        typed = {
            tensor.name: self._texts(columns[tensor.name]) if dtype == "object" else columns[tensor.name].astype(dtype)
            for tensor, dtype in zip(self.inputs, self._dtypes)
        }
        return self._run(typed, [tensor.name for tensor in self.outputs])

    def _run(self, columns: dict[str, Any], names: list[str]) -> dict[str, Any]:
        count = len(next(iter(columns.values())))
        if not self._fixed or count == 1:
            return dict(zip(names, self._session.run(names, columns)))
        parts = [
            self._session.run(names, {name: data[n : n + 1] for name, data in columns.items()}) for n in range(count)
        ]
        join = self._numpy.concatenate
        return {
            name: join([part[n] for part in parts])
            if hasattr(parts[0][n], "shape")
            else [v for part in parts for v in part[n]]
            for n, name in enumerate(names)
        }

    def _texts(self, data: Any) -> Any:
        texts = [value.decode() if isinstance(value, bytes) else str(value) for value in data.ravel().tolist()]
        return self._numpy.array(texts, dtype=object).reshape(data.shape)


def _tensor(node: Any) -> Tensor:
    """Named and unknown dimensions are free; so is the first, which counts the rows."""
    shape = [size if isinstance(size, int) and size > 0 else -1 for size in node.shape or [-1]]
    return Tensor(name=node.name, datatype=_DATATYPES.get(node.type, "BYTES"), shape=[-1, *shape[1:]])
