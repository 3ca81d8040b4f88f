"""What a replica tells of its inputs and outputs: exact where it counts, silent where it must be, never in the way."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bough
from bough.runtime.distributions import MAX_LEAVES, Distribution
from bough.runtime.frames import (
    CHAT,
    CHUNK,
    EMBED,
    INFER,
    MAX_FIELDS,
    MAX_VALUES,
    PREDICT,
    STATS,
    VALUE_BOUNDS,
    Observed,
    Reply,
    Request,
    SideStats,
    decode_observed,
)
from bough.runtime.models import Model
from bough.runtime.spec import ModelSpec
from bough.runtime.telemetry import MAX_BODY, WINDOW_S, Telemetry, telemetry_of
from tests.runtime.wire import Connection, Replica, ask, serving

Start = Callable[..., tuple[Replica, Connection]]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


class Clock:
    def __init__(self) -> None:
        self.now, self.looks = 100.0, 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now


def counted(*items: Any, name: str = "input") -> SideStats:
    found = Distribution()
    for item in items:
        found.take(name, item)
    return found.increments()


def bucket(number: float) -> int:
    return bisect_left(VALUE_BOUNDS, number)


def request(number: int, body: Any, verb: int = PREDICT, meta: str = "") -> Request:
    return Request(number, verb, body if isinstance(body, bytes) else msgspec.json.encode(body), meta)


def said(telemetry: Telemetry) -> Observed:
    report = telemetry.report()
    assert report is not None and report.flag == STATS and report.id == 0
    return decode_observed(report.body)


# --- distributions


def test_numbers_are_counted_in_buckets_with_their_sum() -> None:
    found = counted({"age": 30}, {"age": 30.5}, {"age": -2}, {"age": 1e12}).fields["age"]
    assert (found.present, found.sum) == (4, 30 + 30.5 - 2 + 1e12)
    assert found.buckets == {bucket(30): 1, bucket(30.5): 1, bucket(-2): 1, len(VALUE_BOUNDS): 1}


def test_null_and_absent_are_missing_also_before_the_field_was_known() -> None:
    side = counted({}, {"age": None}, {"age": 1}, {"b": {"c": 2}})
    assert (side.items, side.fields["age"].present, side.fields["b.c"].present) == (4, 1, 1)


def test_a_sum_beyond_what_a_float_holds_does_not_cost_the_counts() -> None:
    side = counted({"x": 1e308}, {"x": 1e308}, {"x": 10**400})
    assert side.fields["x"].buckets == {len(VALUE_BOUNDS): 2}
    assert msgspec.json.decode(msgspec.json.encode(side), type=SideStats) == side


def test_categories_are_counted_by_value_once_they_were_seen_twice() -> None:
    side = counted(*[{"plan": "pro", "paid": True}] * 3, {"plan": "free", "paid": False}, {"plan": "Ann Smith"})
    assert side.fields["plan"].values == {"pro": 3} and side.fields["plan"].present == 5
    assert side.fields["paid"].values == {"true": 3, "false": 1}


def test_a_field_names_a_bounded_number_of_values() -> None:
    words = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(60)]
    found = counted(*[{"w": word} for word in words for _ in range(2)]).fields["w"]
    assert len(found.values) == MAX_VALUES and sum(found.values.values()) + found.other == 120


def test_arrays_count_their_length_and_their_elements_together() -> None:
    side = counted({"x": [1, 2, 2], "rows": [[5, 6], [7]], "bag": [{"price": 4}, {"price": 5}]})
    assert side.fields["len(x)"].sum == 3 and side.fields["x[]"].buckets == {bucket(1): 1, bucket(2): 2}
    assert (side.fields["len(rows)"].sum, side.fields["rows[]"].sum) == (2, 18)
    assert side.fields["bag[].price"].sum == 9 and side.fields["bag[].price"].present == 1


def test_a_huge_array_is_looked_at_in_part() -> None:
    side = counted({"x": [1] * 100_000})
    assert side.fields["len(x)"].sum == 100_000 and 0 < side.fields["x[]"].sum <= MAX_LEAVES


def test_what_is_no_object_has_the_name_of_the_parameter() -> None:
    assert set(counted(4, name="radius").fields) == {"radius"}


@pytest.mark.parametrize(
    "secret",
    ["ann@example.org", "+49 170 1234567", "4111 1111 1111 1111", "the patient has a fever and a cough", "<b>",
     "x" * 65],
)  # fmt: skip
def test_long_texts_addresses_and_numbers_of_people_leave_as_lengths_only(secret: str) -> None:
    side = counted(*[{"note": secret, "tags": [secret, secret], secret: 1}] * 3)
    assert secret.encode() not in msgspec.json.encode(side)
    assert side.fields["len(note)"].sum == 3 * len(secret) and "*" in side.fields


@given(st.lists(anything, max_size=30))
def test_whatever_comes_the_numbers_are_bounded(items: list[Any]) -> None:
    side = counted(*items, *[{f"k{chr(97 + n % 26)}{chr(97 + n // 26)}": n} for n in range(100)])
    assert len(side.fields) <= MAX_FIELDS and side.dropped > 0
    assert all(len(field.values) <= MAX_VALUES and field.present <= side.items for field in side.fields.values())
    assert msgspec.json.decode(msgspec.json.encode(side), type=SideStats) == side


# --- sampling


def test_at_most_so_many_items_a_second() -> None:
    clock = Clock()
    telemetry = Telemetry(20, now=clock)
    for _ in range(1000):  # ten seconds at 100 frames a second, three requests each
        frame = [request(n, {"x": 1}) for n in range(3)]
        if telemetry.wants():
            telemetry.note(frame, [Reply(n, 200, b"1") for n in range(3)])
        clock.now += 0.01
    clock.now += 1
    assert said(telemetry).input.items == 10 * 20


def test_a_frame_that_is_not_sampled_costs_one_look_at_the_clock() -> None:
    clock = Clock()
    telemetry = Telemetry(1, now=clock)
    assert telemetry.wants()
    telemetry.note([request(1, 1)], [])
    assert telemetry.report() is not None
    before = clock.looks
    assert not telemetry.wants() and telemetry.patience_s is None and telemetry.report() is None
    assert clock.looks == before + 1


def test_switched_off_it_samples_nothing() -> None:
    telemetry = Telemetry(0, now=Clock())
    assert not telemetry.wants()
    telemetry.note([request(1, 1)], [Reply(1, 200, b"1")])
    assert telemetry.report() is None and telemetry.patience_s is None


def test_increments_are_sent_once_and_after_a_second() -> None:
    clock = Clock()
    telemetry = Telemetry(20, now=clock)
    telemetry.note([request(1, {"x": 1})], [Reply(1, 200, b"0.5")])
    assert telemetry.report() is None and telemetry.patience_s == WINDOW_S
    clock.now += WINDOW_S
    first = said(telemetry)
    assert (first.input.fields["x"].sum, first.output.fields["output"].sum) == (1, 0.5)
    assert telemetry.report() is None and telemetry.patience_s is None
    telemetry.note([request(2, {"x": 2})], [])
    clock.now += WINDOW_S
    assert said(telemetry).input.fields["x"].sum == 2


def test_items_beyond_the_first_are_all_told_once_a_second_sampled_or_not() -> None:
    clock = Clock()
    for telemetry in (Telemetry(20, now=clock), Telemetry(0, now=clock)):
        telemetry.further(7)
        telemetry.further(2)
        assert telemetry.report() is None and telemetry.patience_s == WINDOW_S
        clock.now += WINDOW_S
        assert said(telemetry).further == 9
        assert telemetry.report() is None and telemetry.patience_s is None


def test_what_never_reached_the_model_is_not_counted() -> None:
    clock = Clock()
    telemetry = Telemetry(20, now=clock)
    telemetry.note(
        [request(n, {"x": n}) for n in range(4)],
        [Reply(0, 422, b"{}"), Reply(1, 500, b'{"error":{}}'), Reply(2, 200, b"7"), Reply(3, 200, b"a", CHUNK)],
    )
    clock.now += WINDOW_S
    found = said(telemetry)
    assert (found.input.items, found.input.fields["x"].sum, found.output.items) == (3, 6, 1)


@given(
    st.lists(st.binary() | anything.map(msgspec.json.encode), min_size=1, max_size=8), st.sampled_from([0, 1, 2, 3, 9])
)
def test_no_bytes_make_it_raise(bodies: list[bytes], verb: int) -> None:
    clock = Clock()
    telemetry = Telemetry(20, now=clock)
    telemetry.note(
        [request(n, body, verb) for n, body in enumerate(bodies)],
        [Reply(n, 200, body) for n, body in enumerate(reversed(bodies))],
    )
    clock.now += WINDOW_S
    telemetry.report()


# --- protocols: from real answers


def observed(instance: Any, *bodies: Any, verb: int = PREDICT, meta: str = "", **spec: Any) -> Observed:
    """What is told of the bodies, each sent twice in a frame and answered by `instance`."""
    answering = serving(instance, **spec)
    telemetry = telemetry_of(answering.model)
    encoded = [body if isinstance(body, bytes) else msgspec.json.encode(body) for body in bodies for _ in range(2)]
    telemetry.note(
        [Request(n, verb, body, meta) for n, body in enumerate(encoded)], ask(answering, *encoded, verb=verb, meta=meta)
    )
    telemetry.left = 0
    return said(telemetry)


@dataclass
class Photo:
    picture: bytes
    label: Literal["cat", "dog"]
    owner: str = "Ada Lovelace"


class Sees:
    def predict(self, photo: Photo) -> dict[str, bytes]:
        return {"echo": photo.picture}


class Takes:
    def predict(self, picture: bytes) -> bytes:
        return picture


class Doubles:
    @bough.batch(max_size=8)
    def predict(self, x: list[float]) -> list[float]:
        return [2 * value for value in x]


class Eats:
    def predict(self, item: dict[str, float]) -> float:
        return item.pop("x")


class Measures:
    def predict(self, item: dict[str, str]) -> int:
        return len(item)


class Talks:
    def predict(self, messages: list[dict[str, str]]) -> str:
        return "well well"


class Embeds:
    def predict(self, text: str) -> list[float]:
        return [0.25, 0.75]


def test_bytes_are_never_told_not_even_as_base64() -> None:
    found = observed(Sees(), {"picture": "aGVsbG8h", "label": "cat", "owner": "Ada"})
    assert b"aGVsbG8h" not in msgspec.json.encode(found)
    assert b"Ada" not in msgspec.json.encode(found)  # nobody listed it as a value, so it may be a name
    assert found.input.fields["len(owner)"].sum == 6
    assert found.input.fields["label"].values == {"cat": 2} and found.input.fields["len(picture)"].sum == 16
    assert found.output.fields["len(echo)"].sum == 16
    for body in (b"cat", b'"Y2F0"'):
        found = observed(Takes(), body)
        assert b"cat" not in msgspec.json.encode(found) and b"Y2F0" not in msgspec.json.encode(found)
        assert found.input.fields["len(picture)"].sum == 2 * len(body)


def test_a_large_body_is_only_measured() -> None:
    found = observed(Measures(), {"a": "x" * MAX_BODY})
    assert list(found.input.fields) == ["len(item)"] and found.output.fields["output"].sum == 2


def test_an_input_that_predict_alters_is_counted_as_it_came() -> None:
    assert observed(Eats(), {"x": 3.0}).input.fields["x"].sum == 6


def test_predict_and_tensors_count_into_the_same_fields() -> None:
    plain = observed(Doubles(), 3.0)
    assert (plain.input.fields["x"].sum, plain.output.fields["output"].sum) == (6, 12)
    tensor = {"name": "x", "datatype": "FP64", "shape": [2], "data": [1.0, 2.0]}
    sent = observed(Doubles(), {"inputs": [tensor]}, verb=INFER)
    assert (sent.input.fields["x"].sum, sent.output.fields["output"].sum) == (6, 12)
    data = np.array([1.0, 2.0]).tobytes()
    head = json.dumps({
        "inputs": [tensor | {"parameters": {"binary_data_size": len(data)}, "data": None}],
        "parameters": {"binary_data_output": True},
    }).replace(', "data": null', "").encode()  # fmt: skip
    binary = observed(Doubles(), head + data, verb=INFER, meta=str(len(head)))
    assert (binary.input.fields["x"].sum, binary.output.fields["output"].sum) == (6, 12)


def test_a_conversation_is_told_by_its_lengths() -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.5}
    found = observed(Talks(), body, verb=CHAT, openai="chat")
    assert b"hello" not in msgspec.json.encode(found) and b"well" not in msgspec.json.encode(found)
    assert found.input.fields["messages[].role"].values == {"user": 2}
    assert found.input.fields["len(messages[].content)"].sum == 10 and found.input.fields["temperature"].sum == 1
    assert found.output.fields["len(choices[].message.content)"].sum == 18
    assert found.output.fields["choices[].finish_reason"].values == {"stop": 2}


def test_an_embedding_is_told_by_its_numbers() -> None:
    found = observed(Embeds(), {"input": ["short"], "model": "m"}, verb=EMBED, openai="embeddings")
    assert b"short" not in msgspec.json.encode(found)
    assert found.output.fields["embedding[]"].buckets == {bucket(0.25): 2, bucket(0.75): 2}


def test_a_model_counts_as_its_spec_says() -> None:
    assert not telemetry_of(Model(ModelSpec(reference="t:T", folder=".", sample_per_s=0), Doubles())).wants()
    assert telemetry_of(Model(ModelSpec(reference="t:T", folder="."), Doubles())).wants()


# --- real replicas

BODIES: dict[str, Any] = {
    "services:Echo": 5,
    "services:EchoBatch": 5,
    "services:Async": {"seconds": 0},
    "services:AsyncBatch": 5,
    "services:Letters": "abc",
    "services:AsyncLetters": "abc",
}


@pytest.mark.parametrize("reference", BODIES)
def test_every_kind_of_replica_reports_although_no_more_requests_come(replica: Start, reference: str) -> None:
    _, connection = replica(reference)
    assert connection.ask(BODIES[reference]).status == 200
    while not connection.observed:
        assert not connection.replies()
    assert connection.observed[0].input.items == 1
    assert connection.observed[0].output.items == (0 if "Letters" in reference else 1)


@pytest.mark.parametrize("reference", ["services:Echo", "services:SlowOne", "services:Async"])
def test_a_busy_replica_reports_at_once_and_only_so_much(replica: Start, reference: str) -> None:
    _, connection = replica(reference, "--sample-per-s", "4")
    connection.send(*[request(n, {"seconds": 0.002} if "Async" in reference else 0.002) for n in range(40)])
    connection.collect(range(40))
    while not connection.observed:
        assert not connection.replies()
    assert [found.input.items for found in connection.observed] == [4] * len(connection.observed)
    assert connection.observed[0].output.items == 4


def test_switched_off_a_replica_sends_nothing_but_answers(replica: Start) -> None:
    _, connection = replica("services:Echo", "--sample-per-s", "0")
    assert connection.ask(5).status == 200
    assert not connection.readable(1.3) and not connection.observed
