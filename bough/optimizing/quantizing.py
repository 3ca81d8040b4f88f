"""int8 from an ONNX model, with ONNX Runtime's own tools.

Dynamic: weights are int8, ranges of activations are found anew for each request; needs no data. Convolutions stay as
they are, because the CPU's kernels for that form take longer than the floating-point ones. Static: ranges come from
calibration data and the whole graph works in int8.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bough.optimizing.models import STATIC
from bough.runtime.frames import Tensor
from bough.runtime.loaders.rows import required

CALIBRATION_ROWS = 512  # more change the ranges of the usual models no further
CALIBRATION_BATCH = 16
_DYNAMIC_OPERATORS = ["MatMul", "Gemm", "Gather", "Attention", "LSTM", "GRU", "EmbedLayerNormalization"]
_NUMPY = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BOOL": "bool", "BYTES": "object"}


class _Reader:
    """What the calibration reads: arrays by input name, batch by batch, and from the start again when asked."""

    def __init__(self, inputs: list[Tensor], rows: list[Any], batch: int) -> None:
        self._inputs, self._rows, self._batch = inputs, rows, batch
        self._numpy = required("numpy", "calibration")
        self.rewind()

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)

    def rewind(self) -> None:
        self._feeds = self._all()

    def _all(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self._rows), self._batch):
            part = self._rows[start : start + self._batch]
            yield {
                each.name: self._numpy.asarray(
                    [row[each.name] if isinstance(row, dict) else row for row in part],
                    dtype=_NUMPY.get(each.datatype, each.datatype.lower()),
                )
                for each in self._inputs
            }


def quantized(source: Path, target: Path, method: str, inputs: list[Tensor], calibration: list[Any]) -> None:
    """Writes the contender of `source` into `target`, weights inside."""
    quantization = required("onnxruntime.quantization", source.name)

    logging.getLogger().setLevel(logging.ERROR)  # advice for whoever calls it by hand
    if method == STATIC:
        prepared = target.with_suffix(".prepared.onnx")
        quantization.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        # Rows one by one where the model's first dimension is fixed.
        batch = 1 if any(each.shape[:1] == [1] for each in inputs) else CALIBRATION_BATCH
        quantization.quantize_static(
            str(prepared), str(target), _Reader(inputs, calibration[:CALIBRATION_ROWS], batch),
            quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
        prepared.unlink()
        return
    quantization.quantize_dynamic(
        str(source), str(target), op_types_to_quantize=_DYNAMIC_OPERATORS, per_channel=False,
        weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


def outside_files(source: Path) -> list[str]:
    """Files beside the model that hold its weights; the contenders have them inside."""
    onnx = required("onnx", source.name)
    outside = required("onnx.external_data_helper", source.name)
    weights = onnx.load(str(source), load_external_data=False).graph.initializer
    return sorted({outside.ExternalDataInfo(each).location for each in weights if outside.uses_external_data(each)})
