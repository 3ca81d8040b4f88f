"""Inputs and outputs as a model's files say them, beside the libraries that write those files."""

from __future__ import annotations

import io

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bough.registry.signatures import of_mlmodel, of_onnx

TYPES = {TensorProto.FLOAT: "FP32", TensorProto.INT64: "INT64", TensorProto.STRING: "BYTES", TensorProto.DOUBLE: "FP64"}


def graph(inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], weights: int = 0) -> bytes:
    made = [numpy_helper.from_array(np.zeros((weights, 1024), dtype="f4"), "w")] if weights else []
    if made:
        inputs = [*inputs, helper.make_tensor_value_info("w", TensorProto.FLOAT, [weights, 1024])]
    content: bytes = helper.make_model(helper.make_graph([], "g", inputs, outputs, made)).SerializeToString()
    return content


@given(
    st.lists(
        st.tuples(
            st.text(min_size=1, max_size=12),
            st.sampled_from(sorted(TYPES)),
            st.lists(st.one_of(st.integers(1, 2**40), st.just("batch")), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_an_onnx_graph_is_read_as_onnx_wrote_it(values: list[tuple[str, int, list[int | str]]]) -> None:
    infos = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in values]
    found = of_onnx(io.BytesIO(graph(infos, infos)))
    for side in (found.inputs, found.outputs):
        assert [(each.name, each.datatype) for each in side] == [(name, TYPES[kind]) for name, kind, _ in values]
        assert [each.shape for each in side] == [
            [size if isinstance(size, int) else -1 for size in shape] for _, _, shape in values
        ]


class CountedReads(io.BytesIO):
    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.read_bytes += len(found)
        return found


def test_weights_are_stepped_over_and_are_no_inputs() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    content = graph([x], [x], weights=2048)
    stream = CountedReads(content)
    assert [each.name for each in of_onnx(stream).inputs] == ["x"]
    assert len(content) > 8_000_000
    assert stream.read_bytes < 1000


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_and_nothing_worse(content: bytes) -> None:
    try:
        of_onnx(io.BytesIO(content))
    except (ValueError, EOFError):
        return
    onnx.load_model_from_string(content)  # whoever reads it must be right


def test_mlmodel_says_columns_and_tensors() -> None:
    text = """artifact_path: model
flavors:
  python_function:
    env:
      inputs: nothing
signature:
  inputs: '[{"type": "double", "name": "age", "required": true}, {"type": "string",
    "name": "who''s", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1, 3]}}]'
  params: null
utc_time_created: '2026-01-01'
"""
    found = of_mlmodel(text)
    assert found is not None
    assert [(each.name, each.datatype) for each in found.inputs] == [("age", "FP64"), ("who's", "BYTES")]
    assert [(each.datatype, each.shape) for each in found.outputs] == [("INT64", [-1, 3])]


@pytest.mark.parametrize("text", ["", "flavors: {}", "signature:\n  inputs: 'no json'\n", "signature: null\n"])
def test_an_mlmodel_without_one_says_nothing(text: str) -> None:
    assert of_mlmodel(text) is None
