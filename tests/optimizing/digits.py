"""A small real model: handwritten digits, a network trained by scikit-learn and written as ONNX by hand."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@cache
def split() -> Split:
    """Images and labels to train on, and to measure on."""
    digits = load_digits()
    train, test, train_labels, test_labels = train_test_split(
        digits.data.astype(np.float32) / 16, digits.target, test_size=0.4, random_state=0, stratify=digits.target
    )
    return train, train_labels, test, test_labels


@cache
def network(hidden: int = 256) -> MLPClassifier:
    train, labels, _, _ = split()
    made = MLPClassifier((hidden, hidden), random_state=0, learning_rate_init=0.005)
    with threadpool_limits(1):  # several, on cores that others use too, take eight times as long
        for _ in range(12):
            made.partial_fit(train, labels, classes=range(10))
    return made


@cache
def as_onnx(hidden: int = 256) -> bytes:
    """[batch, 64] to the scores of ten digits."""
    made = network(hidden)
    weights, nodes, last = [], [], "pixels"
    for at, (matrix, bias) in enumerate(zip(made.coefs_, made.intercepts_, strict=True)):
        weights += [
            numpy_helper.from_array(matrix.astype(np.float32), f"w{at}"),
            numpy_helper.from_array(bias.astype(np.float32), f"b{at}"),
        ]
        out = "scores" if at == len(made.coefs_) - 1 else f"sum{at}"
        nodes.append(helper.make_node("Gemm", [last, f"w{at}", f"b{at}"], [out]))
        last = out
        if out != "scores":
            nodes.append(helper.make_node("Relu", [last], [f"active{at}"]))
            last = f"active{at}"
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def npz(rows: int = 719) -> bytes:
    """What the models are measured on."""
    _, _, test, labels = split()
    kept = io.BytesIO()
    np.savez(kept, pixels=test[:rows], digit=labels[:rows])
    return kept.getvalue()


def calibration(rows: int = 200) -> bytes:
    kept = io.BytesIO()
    np.savez(kept, pixels=split()[0][:rows])
    return kept.getvalue()


def csv(rows: int = 719) -> bytes:
    _, _, test, labels = split()
    lines = [",".join([*(f"p{at}" for at in range(64)), "digit"])]
    lines += [
        ",".join([*(f"{value:g}" for value in row), str(label)])
        for row, label in zip(test[:rows], labels[:rows], strict=True)
    ]
    return "\n".join(lines).encode()
