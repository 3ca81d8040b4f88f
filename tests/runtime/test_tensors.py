"""The Open Inference Protocol's wire format, with numpy and without, and its mapping onto predict."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

import bough
from bough.runtime.frames import INFER, Reply
from bough.runtime.protocols import tensors
from bough.runtime.service import Reject
from tests.runtime.wire import ask, content, serving

DATATYPES = {
    "BOOL": "?", "INT8": "i1", "INT16": "i2", "INT32": "i4", "INT64": "i8", "UINT8": "u1", "UINT16": "u2",
    "UINT32": "u4", "UINT64": "u8", "FP16": "f2", "FP32": "f4", "FP64": "f8",
}  # fmt: skip


def encode(inputs: dict[str, Any], *, binary: bool = True, **rest: Any) -> tuple[bytes, str]:
    """A request as a client would send it: body and the length of its JSON."""
    described, tail = [], b""
    for name, value in inputs.items():
        array = np.asarray(value)
        datatype = (
            "BYTES"
            if array.dtype.kind in "OUS"
            else next(k for k, v in DATATYPES.items() if array.dtype == np.dtype(v))
        )
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        flat = array.ravel().tolist()
        if not binary:
            entry["data"] = flat
        else:
            texts = [text if isinstance(text, bytes) else str(text).encode() for text in flat]
            data = b"".join(struct.pack("<I", len(t)) + t for t in texts) if datatype == "BYTES" else array.tobytes()
            entry["parameters"] = {"binary_data_size": len(data)}
            tail += data
        described.append(entry)
    head = msgspec.json.encode({"inputs": described, **rest})
    return head + tail, str(len(head)) if binary else ""


def decode(reply: Reply) -> dict[str, Any]:
    """Arrays by output name."""
    assert reply.status == 200, reply.body
    head, length = reply.body, len(reply.body)
    if b"Inference-Header-Content-Length" in reply.headers:
        length = int(reply.headers.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        head = reply.body[:length]
    found, at = {}, length
    for output in msgspec.json.decode(head)["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = np.array(
                output["data"], dtype=object if output["datatype"] == "BYTES" else DATATYPES[output["datatype"]]
            )
        else:
            data = reply.body[at : at + size]
            at += size
            values = (
                np.array(list(_texts(data)), dtype=object)
                if output["datatype"] == "BYTES"
                else np.frombuffer(data, DATATYPES[output["datatype"]])
            )
        found[output["name"]] = values.reshape(output["shape"])
    assert at == len(reply.body)
    return found


def _texts(data: bytes) -> Iterator[str]:
    while data:
        (size,) = struct.unpack_from("<I", data)
        yield data[4 : 4 + size].decode()
        data = data[4 + size :]


def infer(service: Any, inputs: dict[str, Any], *, binary: bool = True, **rest: Any) -> Reply:
    body, meta = encode(inputs, binary=binary, **rest)
    return ask(serving(service), body, verb=INFER, meta=meta)[0]


arrays = st.sampled_from(list(DATATYPES.values())).flatmap(
    lambda kind: nst.arrays(np.dtype(kind), nst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
)


@given(arrays, st.booleans(), st.booleans())
def test_every_tensor_comes_back_bit_by_bit(array: Any, binary_in: bool, binary_out: bool) -> None:
    if not (binary_in and binary_out) and array.dtype.kind == "f" and not np.isfinite(array).all():
        array = np.nan_to_num(array, nan=0.0, posinf=1.0, neginf=-1.0)  # JSON has none of them
    body, meta = encode({"x": array}, binary=binary_in, id="7", parameters={"binary_data_output": binary_out})
    request = tensors.parse(body, meta)
    answer, headers = tensors.render("m", request, {"y": request.inputs[0].data})
    back = decode(Reply(1, 200, answer, 0, headers))["y"]
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@given(st.lists(st.text(max_size=6), max_size=5), st.booleans())
def test_texts_come_back(texts: list[str], binary: bool) -> None:
    body, meta = encode({"x": np.array(texts, dtype=object)}, binary=binary, parameters={"binary_data_output": binary})
    request = tensors.parse(body, meta)
    answer, headers = tensors.render("m", request, {"y": request.inputs[0].data})
    assert decode(Reply(1, 200, answer, 0, headers))["y"].tolist() == texts


@given(st.binary(max_size=200), st.integers(-5, 300))
def test_garbage_is_refused_and_never_crashes(body: bytes, head: int) -> None:
    with pytest.raises(Reject) as caught:
        tensors.parse(body, str(head))
    assert caught.value.status == 400


GOOD = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"datatype": "FP31"}, "unknown datatype"), ({"shape": [3]}, "do not fill"),
        ({"shape": [-1]}, "sizes from 0 up"),
        ({"shape": [1] * 40}, "sizes from 0 up"), ({"data": ["a", "b"]}, "must be a FP32"),
        ({"datatype": "INT8", "data": [1, 300]}, "range"), ({"datatype": "BYTES"}, "are strings"),
        ({"datatype": "BF16"}, "binary"), ({"datatype": "INT64", "data": [1.5, 2]}, "must be a INT64"),
        ({"parameters": {"shared_memory_region": "a"}}, "shared memory"),
        ({"parameters": {"binary_data_size": 8}}, "beyond"),
        ({"parameters": {"binary_data_size": -8}}, "number of bytes"), ({"data": msgspec.UNSET}, "neither"),
        ({"shape": [2**40, 2**40]}, "do not fill"),
    ],
)  # fmt: skip
def test_a_tensor_that_is_not_what_it_says_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Reject, match=said):
        tensors.parse(
            msgspec.json.encode({"inputs": [{k: v for k, v in (GOOD | change).items() if v is not msgspec.UNSET}]}), ""
        )


def test_bytes_that_belong_to_nothing_are_refused() -> None:
    body, meta = encode({"x": np.ones(2, "f4")})
    with pytest.raises(Reject, match="belong to no input"):
        tensors.parse(body + b"\0", meta)


def test_bf16_is_widened() -> None:
    head = msgspec.json.encode(
        {"inputs": [{"name": "x", "datatype": "BF16", "shape": [2], "parameters": {"binary_data_size": 4}}]}
    )
    data = np.array([1.5, -2.0], "f4").view("u4") >> 16
    assert tensors.parse(head + data.astype("<u2").tobytes(), str(len(head))).inputs[0].data.tolist() == [1.5, -2.0]


def test_nan_travels_in_binary_and_is_refused_in_json() -> None:
    class Same:
        @bough.batch
        def predict(self, rows: list[float]) -> list[float]:
            return rows

    body, meta = encode({"rows": np.array([math.nan, 1.0])}, parameters={"binary_data_output": True})
    assert math.isnan(decode(ask(serving(Same()), body, verb=INFER, meta=meta)[0])["output"][0])
    body, meta = encode({"rows": np.array([math.nan, 1.0])})
    [reply] = ask(serving(Same()), body, verb=INFER, meta=meta)
    assert reply.status == 500 and "nan" in content(reply)["error"]


@dataclass
class Customer:
    age: int
    name: str


@dataclass
class Answer:
    score: float
    text: str


class Services:
    class Rows:
        @bough.batch
        def predict(self, rows: list[list[float]]) -> list[float]:
            return [sum(row) for row in rows]

    class Stacked:
        @bough.batch
        def predict(self, rows: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            return rows * 2

    class Objects:
        @bough.batch
        def predict(self, rows: list[Customer]) -> list[Answer]:
            return [Answer(row.age / 2, row.name.upper()) for row in rows]

    class Columns:
        @bough.batch
        def predict(self, a: list[int], b: list[str]) -> list[str]:
            return [text * count for count, text in zip(a, b, strict=True)]

    class Single:
        def predict(self, text: str) -> int:
            return len(text)

    class Whole:
        def predict(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            return image.T

    class Two:
        def predict(self, text: str, times: int = 2) -> str:
            return text * times

    class Any_:
        @bough.batch
        def predict(self, rows):  # type: ignore[no-untyped-def]
            return [len(row) for row in rows]

    class Nested:
        def predict(self, text: str) -> dict[str, Any]:
            return {"found": {"text": text}, "size": len(text)}

    class Letters:
        def predict(self, text: str) -> Iterator[str]:
            yield from text


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("service", "inputs", "outputs"),
    [
        (Services.Rows, {"rows": np.ones((3, 4), "f4")}, {"output": [4.0] * 3}),
        (Services.Rows, {"other": np.ones((3, 4), "f8")}, {"output": [4.0] * 3}),
        (Services.Rows, {"rows": np.arange(4, dtype="i8")}, {"output": 6.0}),
        (Services.Stacked, {"rows": np.ones((2, 3), "f4")}, {"output": [[2.0] * 3] * 2}),
        (Services.Objects, {"name": ["a", "b"], "age": np.array([2, 4])}, {"score": [1.0, 2.0], "text": ["A", "B"]}),
        (Services.Columns, {"a": np.array([1, 2]), "b": ["x", "y"]}, {"output": ["x", "yy"]}),
        (Services.Columns, {"0": np.array([[1], [2]]), "1": [["x"], ["y"]]}, {"output": ["x", "yy"]}),
        (Services.Single, {"text": ["abc", "d"]}, {"output": [3, 1]}),
        (Services.Single, {"text": [["abc"], ["d"]]}, {"output": [3, 1]}),
        (Services.Whole, {"image": np.array([[1, 2, 3]], "f4")}, {"output": [[1.0], [2.0], [3.0]]}),
        (Services.Two, {"text": ["a", "b"]}, {"output": ["aa", "bb"]}),
        (Services.Two, {"text": ["a", "b"], "times": np.array([1, 3])}, {"output": ["a", "bbb"]}),
        (Services.Any_, {"rows": np.zeros((2, 5))}, {"output": [5, 5]}),
        (Services.Nested, {"text": ["ab"]}, {"found": ['{"text":"ab"}'], "size": [2]}),
    ],
)
def test_tensors_map_by_name_and_order(
    service: Any, inputs: dict[str, Any], outputs: dict[str, Any], binary: bool
) -> None:
    reply = infer(service(), inputs, binary=binary, parameters={"binary_data_output": binary})
    assert {name: value.tolist() for name, value in decode(reply).items()} == outputs


@pytest.mark.parametrize(
    ("service", "inputs", "said"),
    [
        (Services.Rows, {"a": [1.0], "b": [1.0]}, "inputs are a, b; predict takes rows"),
        (Services.Columns, {"a": np.array([1, 2, 3]), "b": ["x", "y"]}, "first dimension"),
        (Services.Rows, {"rows": np.ones((2, 2, 2))}, "3 dimensions"),
        (Services.Single, {"text": np.array([1])}, "Expected `str`"),
    ],
)
def test_tensors_that_do_not_fit_are_told(service: Any, inputs: dict[str, Any], said: str) -> None:
    reply = infer(service(), inputs)
    assert 400 <= reply.status < 500
    assert said in content(reply)["error"]


def test_requested_outputs_come_alone_and_in_their_own_form() -> None:
    inputs = {"age": np.array([2]), "name": ["a"]}
    wanted = [{"name": "text", "parameters": {"binary_data": False}}]
    reply = infer(Services.Objects(), inputs, outputs=wanted, id="abc")
    assert content(reply) == {
        "model_name": "test", "model_version": "1", "id": "abc",
        "outputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["A"]}],
    }  # fmt: skip
    assert infer(Services.Objects(), inputs, outputs=[{"name": "nope"}]).status == 400


def test_requests_of_one_frame_share_a_call_and_keep_their_rows() -> None:
    class Counting(Services.Rows):
        calls = 0

        @bough.batch(max_size=64)
        def predict(self, rows: list[list[float]]) -> list[float]:
            self.calls += 1
            return [sum(row) for row in rows]

    service = serving(Counting())
    bodies = [encode({"rows": np.full((n + 1, 2), float(n))}, binary=False)[0] for n in range(5)]
    replies = ask(service, *bodies, verb=INFER)
    assert [decode(reply)["output"].tolist() for reply in replies] == [[2.0 * n] * (n + 1) for n in range(5)]
    assert service.model.instance.calls == 1


def test_one_failing_row_fails_its_request_alone() -> None:
    class Inverse:
        @bough.batch
        def predict(self, rows: list[float]) -> list[float]:
            return [1 / row for row in rows]

    bodies = [encode({"rows": np.array(values)}, binary=False)[0] for values in ([1.0, 2.0], [4.0, 0.0], [5.0])]
    replies = ask(serving(Inverse()), *bodies, verb=INFER)
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert "ZeroDivisionError" in content(replies[1])["error"]


def test_it_works_without_numpy() -> None:
    """In a process where numpy cannot be imported: JSON and binary both ways."""
    code = """
import sys; sys.modules["numpy"] = None
import struct, msgspec, bough
from bough.runtime.frames import INFER
from tests.runtime.wire import ask, serving

def tensor(name, datatype, shape, **rest):
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape, **rest}], "parameters": {}}

class Rows:
    @bough.batch
    def predict(self, rows: list[list[float]]) -> list[float]: return [sum(row) for row in rows]

class Text:
    def predict(self, text: str) -> str: return text + "!"

asked = tensor("rows", "FP32", [2, 2], parameters={"binary_data_size": 16})
asked["parameters"]["binary_data_output"] = True
head = msgspec.json.encode(asked)
reply = ask(serving(Rows()), head + struct.pack("<4f", 1, 2, 3, 4), verb=INFER, meta=str(len(head)))[0]
assert struct.unpack("<2d", reply.body[-16:]) == (3.0, 7.0), reply
reply = ask(serving(Rows()), tensor("rows", "FP32", [2, 2], data=[[1, 2], [3, 4]]), verb=INFER)[0]
assert msgspec.json.decode(reply.body)["outputs"][0] == {
    "name": "output", "datatype": "FP64", "shape": [2], "data": [3.0, 7.0]}, reply
reply = ask(serving(Text()), tensor("text", "BYTES", [2], data=["a", "b"]), verb=INFER)[0]
assert msgspec.json.decode(reply.body)["outputs"][0]["data"] == ["a!", "b!"], reply
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
