"""A student learns what its teacher answers: a small network, from rows that nobody has to label.

The teacher's files lie in teacher/. The student learns the teacher's scores (not only which class wins: how sure the
teacher is of the others is most of what it knows). It is written as ONNX; Bough measures it beside the teacher and
registers it only if it loses little and is smaller or faster: [jobs.distill.distill] in bough.toml.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, save
from sklearn.neural_network import MLPRegressor

import bough
from bough import checkpoint

HERE = Path(__file__).parent


def main() -> None:
    chosen = bough.params(transfer="", label="", width=96, epochs=120, batch=32)
    teacher = onnxruntime.InferenceSession(next((HERE / "teacher").rglob("*.onnx")))
    (taken,), given = teacher.get_inputs(), teacher.get_outputs()[-1]
    rows = inputs(Path(os.environ.get("BOUGH_DATA", "data"), chosen["transfer"]), chosen["label"])
    shaped = rows.reshape(len(rows), *[size if isinstance(size, int) else -1 for size in taken.shape[1:]])
    scores = teacher.run([given.name], {taken.name: shaped})[0].reshape(len(rows), -1)
    flat = rows.reshape(len(rows), -1)

    data = checkpoint.Samples(len(rows), batch_size=int(chosen["batch"]), seed=0, epochs=int(chosen["epochs"]))
    hidden = (int(chosen["width"]),)
    student = MLPRegressor(hidden_layer_sizes=hidden, random_state=0, learning_rate_init=0.005, alpha=0.0)
    state: dict[str, Any] = {"student": student, "data": data}
    ckpt = checkpoint.open(total=data.batches_per_epoch * data.epochs).every("auto")
    step = ckpt.restore(state).step
    for batch in data:
        state["student"].partial_fit(flat[batch], scores[batch].squeeze())
        step += 1
        ckpt.save(step, state)
        if ckpt.should_stop():
            return
    folder = Path(os.environ.get("BOUGH_OUTPUT", "output"))
    folder.mkdir(parents=True, exist_ok=True)
    write(state["student"], taken, given, scores.shape[1], folder / "model.onnx")
    print(f"a student of {sum(each.size for each in state['student'].coefs_)} weights, from {len(rows)} rows")
    ckpt.done(state)


def inputs(path: Path, label: str) -> np.ndarray:
    """All columns but the label, as rows of numbers."""
    if path.suffix == ".npz":
        with np.load(path) as found:
            columns = [found[name] for name in found.files if name != label]
        rows = [each.reshape(len(each), -1) for each in columns]
        return np.concatenate(rows, axis=1).astype(np.float32)
    found = np.genfromtxt(path, delimiter=",", names=True, dtype=np.float32)
    return np.stack([found[name] for name in found.dtype.names if name != label], axis=1)


def write(student: MLPRegressor, taken: Any, given: Any, outputs: int, path: Path) -> None:
    """As ONNX, with the teacher's names: who calls the one can call the other."""
    nodes, weights, last = [helper.make_node("Flatten", [taken.name], ["flat"])], [], "flat"
    for at, (matrix, bias) in enumerate(zip(student.coefs_, student.intercepts_, strict=True)):
        weights += [numpy_helper.from_array(np.asarray(value, np.float32), f"{name}{at}")
                    for name, value in (("w", matrix), ("b", bias))]  # fmt: skip
        is_last = at == len(student.coefs_) - 1
        out = given.name if is_last else f"sum{at}"
        nodes.append(helper.make_node("Gemm", [last, f"w{at}", f"b{at}"], [out]))
        if not is_last:
            nodes.append(helper.make_node("Relu", [out], [f"active{at}"]))
            last = f"active{at}"
    shape = ["batch", *[size if isinstance(size, int) else None for size in taken.shape[1:]]]
    graph = helper.make_graph(
        nodes, "student",
        [helper.make_tensor_value_info(taken.name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(given.name, TensorProto.FLOAT, ["batch", outputs])],
        weights,
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


if __name__ == "__main__":
    main()
