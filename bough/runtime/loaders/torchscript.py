"""TorchScript (`torch.jit.save`) and exported programs (`torch.export.save`, .pt2): neither runs code that was pickled.

Neither file says what its tensors are called or shaped, so there is one input and one output of 32-bit floats of any
shape; a model with integer inputs is best served from a class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bough.runtime.failures import LoadError
from bough.runtime.frames import Tensor
from bough.runtime.loaders import TensorModel
from bough.runtime.loaders.rows import required, to_rows
from bough.runtime.service import Reject, batch

MAX_BATCH = 32


def open_model(path: Path, spec: Any) -> TensorModel:
    torch = required("torch", path.name)
    torch.set_num_threads(1)  # before the first operation: no thread is started, and the module survives a fork
    if path.suffix == ".pt2":
        return Module(torch, torch.export.load(str(path)).module())
    try:
        return Module(torch, torch.jit.load(str(path), map_location="cpu").eval())
    except RuntimeError as error:
        raise LoadError(
            "FORMAT_UNTRUSTED", f"{path.name} is no TorchScript file: {str(error).splitlines()[0]}",
            "save it with torch.jit.save or torch.export.save, or write a class that builds the model",
        ) from error  # fmt: skip


class Module(TensorModel):
    platform = "pytorch"

    def __init__(self, torch: Any, module: Any) -> None:
        self._torch, self._module = torch, module
        self.inputs = [Tensor(name="input", datatype="FP32", shape=[-1, -1])]
        self.outputs = [Tensor(name="output", datatype="FP32", shape=[-1, -1])]

    @batch(max_size=MAX_BATCH)
    def predict(self, rows: list[Any]) -> list[Any]:
        try:
            given = self._torch.tensor(rows, dtype=self._torch.float32)
        except (ValueError, TypeError) as error:
            raise Reject(f"rows do not become a tensor: {error}", status=422, code="INPUT_INVALID", path="$") from error
        return to_rows(self._run(given), len(rows))

    def infer(self, columns: dict[str, Any]) -> dict[str, Any]:
        return self._run(self._torch.from_numpy(columns["input"].astype("float32")))

    def _run(self, given: Any) -> dict[str, Any]:
        with self._torch.inference_mode():
            found = self._module(given)
        if isinstance(found, dict):
            return {str(name): value.numpy() for name, value in found.items()}
        if isinstance(found, (tuple, list)):
            return {f"output_{n}": value.numpy() for n, value in enumerate(found)}
        return {"output": found.numpy()}
