"""What the author of a class writes, and what a request then gets: one item at a time and batched."""

from __future__ import annotations

import datetime
import decimal
import math
import subprocess
import sys
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypedDict

import msgspec
import numpy as np
import numpy.typing as npt
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bough
from bough.runtime.answers import FailureLog
from bough.runtime.items import Contract, SignatureUnsupported
from bough.runtime.service import DEFAULT_BATCH
from tests.runtime.wire import ask, content, error, serving


@dataclass
class Point:
    x: float
    y: float = 0.0


class Person(msgspec.Struct):
    name: str
    age: Annotated[int, msgspec.Meta(ge=0)]


class Box(TypedDict):
    width: int


class Pair(NamedTuple):
    left: int
    right: str


class Order(pydantic.BaseModel):
    number: int = pydantic.Field(gt=0)
    lines: list[Point] = []


def one(function: Any) -> Any:
    """A service whose predict is `function`."""
    return serving(type("Service", (), {"predict": staticmethod(function)})())


class Kinds:
    def point(self, value: Point) -> Any:
        return value

    def person(self, value: Person) -> Any:
        return value

    def box(self, value: Box) -> Any:
        return value

    def pair(self, value: Pair) -> Any:
        return value

    def order(self, value: Order) -> Any:
        assert isinstance(value, Order)
        return value

    def orders(self, value: dict[str, Order]) -> Any:
        assert isinstance(value["a"], Order)
        return value

    def anything(self, value) -> Any:  # type: ignore[no-untyped-def]
        return value

    def when(self, value: datetime.datetime) -> Any:
        return value

    def money(self, value: decimal.Decimal) -> Any:
        return value

    def array(self, value: npt.NDArray[np.float32]) -> Any:
        assert value.dtype == np.float32
        return value * 2


@pytest.mark.parametrize(
    ("name", "given_", "expected"),
    [
        ("point", {"x": 1, "y": 2}, {"x": 1.0, "y": 2.0}),
        ("person", {"name": "Ada", "age": 36}, {"name": "Ada", "age": 36}),
        ("box", {"width": 3}, {"width": 3}),
        ("pair", [1, "b"], [1, "b"]),
        ("order", {"number": 1, "lines": [{"x": 2}]}, {"number": 1, "lines": [{"x": 2.0, "y": 0.0}]}),
        ("orders", {"a": {"number": 2}}, {"a": {"number": 2, "lines": []}}),
        ("anything", [None, {"a": True}], [None, {"a": True}]),
        ("when", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("money", "1.10", "1.10"),
        ("array", [[1, 2.5]], [[2.0, 5.0]]),
    ],
)
def test_the_body_is_the_item_typed_by_its_annotation(name: str, given_: Any, expected: Any) -> None:
    [reply] = ask(one(getattr(Kinds(), name)), given_)
    assert (reply.status, content(reply)) == (200, expected)


@pytest.mark.parametrize(
    ("name", "body", "path"),
    [
        ("point", b'{"x":"a"}', "$.x"),
        ("point", b'{"y":1}', "$"),
        ("person", b'{"name":"A","age":-1}', "$.age"),
        ("order", b'{"number":0}', "$.number"),
        ("orders", b'{"a":{"number":0}}', "$[...]"),
        ("array", b"[[1],[1,2]]", "$"),
        ("anything", b"{", "$"),
        ("anything", b'"\xff"', "$"),
        ("anything", b"[" * 100_000, "$"),
        ("anything", b"", "$"),
    ],
)
def test_bad_input_is_422_and_names_the_path(name: str, body: bytes, path: str) -> None:
    [reply] = ask(one(getattr(Kinds(), name)), body)
    assert reply.status == 422
    assert error(reply)["code"] == "INPUT_INVALID"
    assert error(reply)["fields"]["path"] == path


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("anything", "JSON"),
        ("point", "a JSON object with x"),
        ("order", "a JSON object with number"),
        ("orders", "a JSON object"),
        ("pair", "a JSON list"),
        ("money", "a JSON text"),
    ],
)
def test_an_empty_body_is_called_empty_and_what_is_expected_is_said(name: str, wanted: str) -> None:
    (reply,) = ask(one(getattr(Kinds(), name)), b"")
    assert (reply.status, error(reply)["code"]) == (422, "INPUT_INVALID")
    assert error(reply)["message"] == f"the body is empty; {wanted} is expected"


def test_what_was_expected_is_said() -> None:
    [reply] = ask(one(Kinds().point), {"x": "a"})
    assert error(reply)["fields"] == {"path": "$.x", "expected": "float", "got": "str"}


def test_several_parameters_are_the_keys_of_an_object() -> None:
    def predict(text: str, top: int = 5, *, tags: list[str] = []) -> Any:  # noqa: B006 - what a user might write
        tags.append(text)
        return [text, top, tags]

    service = one(predict)
    replies = ask(service, {"text": "a"}, {"text": "b", "top": 1}, {"text": "c", "topp": 1}, {"top": 2}, [])
    assert [reply.status for reply in replies] == [200, 200, 422, 422, 422]
    assert content(replies[0]) == ["a", 5, ["a"]]
    assert content(replies[1]) == ["b", 1, ["b"]], "a default that was changed must not leak into the next request"
    assert "topp" in error(replies[2])["message"]


def test_no_parameters_need_no_body() -> None:
    assert content(ask(one(lambda: "hello"), b"")[0]) == "hello"


def test_bytes_come_raw_or_as_base64_and_go_out_raw() -> None:
    def predict(data: bytes) -> bytes:
        return data[::-1]

    raw = ask(one(predict), b"\x00\xffa", meta="image/png")[0]
    encoded = ask(one(predict), b'"AP9h"')[0]
    untold = ask(one(predict), b"\x00\xffa")[0]
    assert raw.body == encoded.body == untold.body == b"a\xff\x00"
    assert raw.headers == b"Content-Type: application/octet-stream\r\n"
    assert ask(one(predict), b'"!"')[0].status == 422


def test_what_numpy_and_friends_answer_becomes_json() -> None:
    answers = {
        "array": np.arange(3, dtype=np.int32), "matrix": np.ones((1, 2)), "strided": np.arange(4.0)[::2],
        "text": np.array(["a"]), "scalar": np.float32(0.5), "flag": np.bool_(True), "uuid": uuid.UUID(int=1),
        "order": Order(number=1), "range": range(2), "set": {1},
    }  # fmt: skip
    assert content(ask(one(lambda: answers), b"")[0]) == {
        "array": [0, 1, 2], "matrix": [[1.0, 1.0]], "strided": [0.0, 2.0], "text": ["a"], "scalar": 0.5, "flag": True,
        "uuid": str(uuid.UUID(int=1)), "order": {"number": 1, "lines": []}, "range": [0, 1], "set": [1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        (math.nan, "$"), ([1.0, math.inf], "$[1]"), ({"a": {"b": [-math.inf]}}, "$.a.b[0]"), (Point(math.nan), "$.x"),
        (np.array([0.0, np.nan]), "$[1]"), (Person("null", math.nan), "$.age"), (np.float32("nan"), "$"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_an_answer_that_is_not_a_number_is_refused_and_not_null(answer: Any, path: str) -> None:
    [reply] = ask(one(lambda: answer), b"")
    assert (reply.status, error(reply)["code"]) == (500, "OUTPUT_INVALID")
    assert f" at {path}," in error(reply)["message"]


def test_null_that_is_meant_is_an_answer() -> None:
    assert [content(ask(one(lambda a=answer: a), b"")[0]) for answer in (None, "null", [None, 1.5])] == [
        None,
        "null",
        [None, 1.5],
    ]


def test_a_list_of_floats_is_checked_too() -> None:
    def predict(good: bool) -> list[float]:
        return [1.5, 2.0 if good else math.nan]

    replies = ask(one(predict), True, False)
    assert [reply.status for reply in replies] == [200, 500]
    assert content(replies[0]) == [1.5, 2.0]


def test_an_answer_without_a_json_form_names_its_type() -> None:
    [reply] = ask(one(lambda: object()), b"")
    assert (reply.status, error(reply)["code"]) == (500, "OUTPUT_INVALID")
    assert "builtins.object" in error(reply)["message"]


def test_exceptions_are_500_with_the_traceback_in_the_log_only(capsys: pytest.CaptureFixture[str]) -> None:
    def predict(value: int) -> float:
        return 1 / value

    [reply] = ask(one(predict), 0)
    assert (reply.status, error(reply)["code"]) == (500, "PREDICT_FAILED")
    assert error(reply)["message"] == "predict raised ZeroDivisionError: division by zero"
    log = capsys.readouterr().err
    assert "return 1 / value" in log and "answering.py" not in log, "the log begins in the user's code"
    assert b"return 1" not in reply.body


def test_a_predict_that_ends_the_program_fails_its_request_alone() -> None:
    def predict(value: int) -> int:
        if value < 0:
            sys.exit(3)
        return value

    replies = ask(one(predict), -1, 2)
    assert [reply.status for reply in replies] == [500, 200]
    assert error(replies[0])["message"] == "predict raised SystemExit: 3"


def test_hints_name_the_service() -> None:
    def predict(value: int) -> int:
        return value

    [wrong] = ask(one(predict), b"{")
    assert error(wrong)["hint"].startswith("GET /v2/models/test shows")


def test_a_model_that_always_fails_does_not_fill_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    log = FailureLog(lambda: now[0])
    for _ in range(25):
        log.write(1, ValueError("again"))
    assert capsys.readouterr().err.count("ValueError: again") == 10
    now[0] = 60.0
    log.write(2, ValueError("later"))
    said = capsys.readouterr().err
    assert "and 15 more failures that were not printed" in said and "ValueError: later" in said


def test_reject_sets_status_code_and_fields() -> None:
    def predict(value: int) -> int:
        raise bough.Reject("no such customer", status=404, code="UNKNOWN", customer=value)

    [reply] = ask(one(predict), 7)
    assert reply.status == 404
    assert error(reply) == {"code": "UNKNOWN", "message": "no such customer", "fields": {"customer": 7}}


def test_reject_takes_error_statuses_only() -> None:
    with pytest.raises(ValueError, match="400 to 599"):
        bough.Reject("x", status=200)


class Divide:
    def __init__(self) -> None:
        self.calls: list[int] = []

    @bough.batch(max_size=64)
    def predict(self, rows: list[int]) -> list[float]:
        self.calls.append(len(rows))
        return [64 / row for row in rows]


def test_one_bad_item_fails_alone() -> None:
    service = serving(Divide())
    replies = ask(service, *[n - 13 for n in range(32)], "x")
    assert [reply.status for reply in replies] == [500 if n == 13 else 200 for n in range(32)] + [422]
    assert all(content(reply) == 64 / (n - 13) for n, reply in enumerate(replies[:32]) if n != 13)
    assert len(service.model.instance.calls) <= 11, "halves, not item by item"


@given(st.lists(st.one_of(st.integers(-3, 3), st.text(max_size=2)), min_size=1, max_size=40), st.integers(1, 9))
def test_answers_belong_to_their_requests_whatever_fails(values: list[Any], size: int) -> None:
    service = serving(Divide(), max_batch=size)
    for value, reply in zip(values, ask(service, *values), strict=True):
        if isinstance(value, str):
            assert reply.status == 422
        elif value == 0:
            assert reply.status == 500
        else:
            assert content(reply) == 64 / value
    assert max(service.model.instance.calls, default=0) <= size


def test_a_batch_says_whether_it_wants_items_of_similar_size() -> None:
    @bough.batch(max_size=8, similar=True)
    def padded(rows: list[str]) -> list[int]:
        return [len(row) for row in rows]

    @bough.batch
    def plain(rows: list[str]) -> list[int]:
        return [len(row) for row in rows]

    assert (Contract(padded).batch, Contract(padded).similar) == (8, True)
    assert (Contract(plain).batch, Contract(plain).similar) == (DEFAULT_BATCH, False)
    assert not Contract(lambda row: row).similar


@pytest.mark.parametrize(
    ("answer", "said"), [([1], "returned 1 answers"), ({"a": 1}, "not dict"), (None, "not NoneType")]
)
def test_a_result_that_cannot_be_dealt_out_fails_all(answer: Any, said: str) -> None:
    class Wrong:
        @bough.batch
        def predict(self, rows: list[int]) -> Any:
            return answer

    replies = ask(serving(Wrong()), 1, 2, 3)
    assert [reply.status for reply in replies] == [500] * 3
    assert said in error(replies[0])["message"]


def test_a_batch_may_refuse_one_item_by_returning_a_reject() -> None:
    class Picky:
        @bough.batch
        def predict(self, rows: list[int]) -> list[Any]:
            return [row if row else bough.Reject("zero", status=409) for row in rows]

    assert [reply.status for reply in ask(serving(Picky()), 1, 0, 2)] == [200, 409, 200]


def test_a_batch_of_arrays_is_stacked_and_answers_may_be_an_array() -> None:
    class Sum:
        @bough.batch
        def predict(self, rows: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            return rows.sum(axis=1)

    replies = ask(serving(Sum()), [1, 2], [3, 4], [5])
    assert [reply.status for reply in replies] == [200, 200, 200], "a ragged batch is split until its rows fit"
    assert [content(reply) for reply in replies] == [3, 7, 5]


def test_a_batch_with_several_parameters_gets_columns() -> None:
    class Join:
        @bough.batch
        def predict(self, texts: list[str], counts: list[int], separator: str = "-") -> list[str]:
            return [separator.join([text] * count) for text, count in zip(texts, counts, strict=True)]

    replies = ask(serving(Join()), {"texts": "a", "counts": 2}, {"texts": "b", "counts": 1}, {"texts": "b"})
    assert [reply.status for reply in replies] == [200, 200, 422]
    assert [content(reply) for reply in replies[:2]] == ["a-a", "b"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(json_values, min_size=1, max_size=8))
def test_any_json_comes_back_as_it_was(values: list[Any]) -> None:
    class Echo:
        def predict(self, value):  # type: ignore[no-untyped-def]
            return value

        @bough.batch
        def many(self, values):  # type: ignore[no-untyped-def]
            return values

    assert [content(reply) for reply in ask(serving(Echo()), *values)] == values
    assert [content(reply) for reply in ask(one(Echo().many), *values)] == values


@given(
    st.builds(Point, st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
)
def test_a_typed_item_comes_back_as_it_was(point: Point) -> None:
    assert msgspec.json.decode(ask(one(Kinds().point), point)[0].body, type=Point) == point


class Odd:
    def unknown(self, value: subprocess.Popen) -> None: ...  # type: ignore[type-arg]

    def nested(self, value: dict[str, list[subprocess.Popen]]) -> None: ...  # type: ignore[type-arg]

    def open(self, *values: int) -> None: ...

    @bough.batch
    def single(self, value: int) -> list[int]: ...

    @bough.batch
    def stream(self, values: list[int]) -> Any:
        yield values

    def missing(self, value: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037


@pytest.mark.parametrize(
    ("name", "said"),
    [("unknown", "Popen"), ("nested", "Popen"), ("open", r"\*values"), ("single", r"list\[int\]"), ("stream", "stream"),
     ("missing", "Nowhere")],
)  # fmt: skip
def test_a_predict_that_cannot_be_served_is_refused_at_once(name: str, said: str) -> None:
    with pytest.raises(SignatureUnsupported, match=said):
        Contract(getattr(Odd(), name))


def test_importing_bough_is_light() -> None:
    code = (
        "import time, sys; began = time.process_time(); import bough; spent = time.process_time() - began;"
        "heavy = {'msgspec', 'starlette', 'uvloop', 'sqlalchemy', 'click', 'numpy', 'asyncio'} & set(sys.modules);"
        "print(spent, bough.__version__, *heavy)"
    )
    found = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    spent, version, *heavy = min(run.stdout for run in found).split()
    assert float(spent) < 0.1 and version == bough.__version__ and not heavy
