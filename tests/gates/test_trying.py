"""Gates that ask replicas: over real sockets, with frames, as the gateway does."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.gates import reading, trying
from bough.gates.talking import Talk
from bough.kernel.errors import Invalid, Unavailable
from bough.kernel.policy import DataGate, EvaluationGate, LoadGate
from bough.runtime.frames import CHUNK, END, Reply, Request, Signature
from tests.gateway.conftest import Replica

Answering = Callable[[dict[str, Any]], Any]


@pytest.fixture
def replica() -> Iterator[Callable[..., str]]:
    """Makes a replica that answers what a function says; its address."""
    folder, made = Path(tempfile.mkdtemp(dir="/tmp")), list[Replica]()

    def make(answer: Answering, **rest: Any) -> str:
        def handle(request: Request) -> list[Reply]:
            found = answer(json.loads(request.body))
            status = 500 if isinstance(found, Exception) else 200
            body = {"error": str(found)} if status == 500 else found
            return [Reply(request.id, status, json.dumps(body).encode())]

        each = Replica(folder, f"u{len(made)}", handle, **rest)
        made.append(each)
        return f"unix:{each.path}"

    yield make
    for each in made:
        each.kill()
    shutil.rmtree(folder)


def rows(count: int = 300) -> list[dict[str, Any]]:
    dice = random.Random(0)
    return [
        {"x": dice.random(), "sex": "f" if n % 2 else "m", "churned": 0} | {"churned": int(dice.random() > 0.5), "n": n}
        for n in range(count)
    ]


def right(share: float, seed: int = 1) -> Answering:
    """A model that is right so often: it has seen the answers."""
    answers, dice = {row["x"]: row["churned"] for row in rows()}, random.Random(seed)
    mistaken = {x for x in answers if dice.random() > share}
    return lambda row: answers[row["x"]] ^ (row["x"] in mistaken)


GATE: dict[str, Any] = {"data": "orders/test.csv", "label": "churned", "hidden": ["n"]}


def test_candidate_and_champion_are_compared_on_the_same_rows(replica: Callable[..., str]) -> None:
    good, bad, champion = replica(right(0.95)), replica(right(0.6, seed=2)), replica(right(0.8, seed=3))
    gate = EvaluationGate(**GATE, worse=0.02, min=0.5)
    (found,) = trying.evaluate(gate, rows(), good, champion)
    assert found.passed and found.figures["gain"][0] > 0, found
    (found,) = trying.evaluate(gate, rows(), bad, champion)
    assert not found.passed and "may be worse than the champion by more than 0.02" in found.said
    (again,) = trying.evaluate(gate, rows(), bad, champion)
    assert again.figures == found.figures, "with a seed, twice is the same"
    (found,) = trying.evaluate(EvaluationGate(**GATE, min=0.9), rows(), bad, "")
    assert not found.passed and "below 0.9" in found.said


def test_a_candidate_that_may_be_worse_does_not_pass_because_few_rows_say_otherwise(
    replica: Callable[..., str],
) -> None:
    """The interval decides, not the one figure: on 30 rows a small lead proves nothing."""
    gate = EvaluationGate(**GATE, worse=0.0)
    (found,) = trying.evaluate(gate, rows()[:30], replica(right(0.9)), replica(right(0.88, seed=4)))
    assert not found.passed


def test_the_label_and_what_is_hidden_are_not_sent(replica: Callable[..., str]) -> None:
    seen: list[dict[str, Any]] = []
    address = replica(lambda row: seen.append(row) or 1)
    list(trying.evaluate(EvaluationGate(**GATE, min=0.0), rows(5), address, ""))
    assert all(row.keys() == {"x", "sex"} for row in seen)


def test_fairness_compares_groups(replica: Callable[..., str]) -> None:
    answers = {row["x"]: row["churned"] for row in rows()}
    unfair = replica(lambda row: answers[row["x"]] if row["sex"] == "f" else 0)
    gate = EvaluationGate(**GATE, min=0.0, groups=["sex"], max_gap=0.1)
    quality, fair = trying.evaluate(gate, rows(), unfair, "")
    assert quality.passed and not fair.passed and fair.gate == "fairness.sex"
    assert fair.figures["groups"]["f"] == 1.0 and "further apart than 0.1" in fair.said
    _, fair = trying.evaluate(gate, rows(), replica(right(0.9)), "")
    assert fair.passed
    _, fair = trying.evaluate(gate, rows(10), replica(right(0.9)), "")
    assert not fair.passed, "what nobody could compare has not passed"


@pytest.mark.parametrize(
    ("answer", "key", "passed"),
    [
        (lambda row: {"label": 1, "score": 0.7}, "label", True),
        (lambda row: {"out": {"classes": [1]}}, "out.classes.0", True),
        (lambda row: {"label": 1}, "", True),
        (lambda row: [1], "", True),
        (lambda row: {"label": 1}, "class", False),
        (lambda row: ValueError("no"), "", False),
    ],
)
def test_the_part_of_an_answer_that_is_meant(
    replica: Callable[..., str], answer: Answering, key: str, passed: bool
) -> None:
    data = [{"x": 1.0, "churned": 1}] * 5
    (found,) = trying.evaluate(EvaluationGate(**GATE, min=1.0, answer=key), data, replica(answer), "")
    assert found.passed == passed, found.said


def test_a_load_test_measures_every_request(replica: Callable[..., str]) -> None:
    def slow(row: dict[str, Any]) -> float:
        time.sleep(0.002)
        return 1.0

    address = replica(slow, max_batch=1)
    found = trying.load(LoadGate(requests=60, concurrency=4, p95_ms=60_000, min_per_s=0.1), [{"x": 1}], None, address)
    assert found.passed and found.figures["requests"] == 60
    assert found.figures["p50_ms"] >= 2 and found.figures["p50_ms"] <= found.figures["p99_ms"]
    found = trying.load(LoadGate(requests=60, concurrency=4, p50_ms=1, min_per_s=100_000), [{"x": 1}], None, address)
    assert not found.passed and "p50_ms over 1" in found.said and "below 100000 a second" in found.said


def test_errors_under_load_fail(replica: Callable[..., str]) -> None:
    address = replica(lambda row: ValueError("odd") if row["x"] % 2 else 1)
    data = [{"x": n} for n in range(10)]
    found = trying.load(LoadGate(requests=100), data, None, address)
    assert not found.passed and found.figures["error_rate"] == 0.5 and "odd" in found.said
    assert trying.load(LoadGate(requests=100, max_error_rate=0.5), data, None, address).passed


def test_without_data_the_load_is_made_from_what_the_model_takes(replica: Callable[..., str]) -> None:
    seen: list[Any] = []
    signature = Signature(mode="item", input={"type": "object", "properties": {"age": {"type": "integer"}},
                                              "required": ["age"]})  # fmt: skip
    trying.load(LoadGate(requests=5), [], signature, replica(lambda row: seen.append(row) or 1))
    assert seen and all(isinstance(row["age"], int) for row in seen)


def test_streams_and_concurrent_replicas_are_asked_as_well(replica: Callable[..., str], tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))

    def stream(request: Request) -> list[Reply]:
        return [Reply(request.id, 200, b"1", CHUNK), Reply(request.id, 200, b"", END)]

    each = Replica(folder, "s", stream, mode="concurrent", concurrency=2)
    with Talk(f"unix:{each.path}") as talk:
        found = list(talk.ask([b"{}"] * 20, 5))
    assert sorted(answer.number for answer in found) == list(range(20)) and found[0].body == b"1"
    each.kill()
    shutil.rmtree(folder)


def test_a_replica_that_is_not_there_or_dies_is_said() -> None:
    with pytest.raises(Unavailable):
        Talk("unix:/nowhere")


# --- data


def test_alike_data_passes_and_drift_is_named_by_column() -> None:
    dice = random.Random(5)

    def data(shift: float = 0.0, missing: float = 0.0, kind: str = "ab") -> list[dict[str, Any]]:
        return [
            {"x": None if dice.random() < missing else dice.gauss(shift, 1), "kind": dice.choice(kind), "id": n}
            for n in range(2000)
        ]

    gate = DataGate(ignore=["id"])
    assert trying.compare(gate, {"files": data()}, {"files": data()}).passed
    for other, said in (
        (data(shift=1.0), "x: psi"),
        (data(missing=0.2), "missing, was 0.0%"),
        (data(kind="ac"), "kind: psi"),
    ):
        found = trying.compare(gate, {"files": data()}, {"files": other})
        assert not found.passed and said in found.said, found.said
    found = trying.compare(
        DataGate(ignore=["id"], max_psi=100, max_ks=1), {"files": data()}, {"files": data(shift=9.0)}
    )
    assert not found.passed and "outside" in found.said
    gone = [{"kind": "a", "id": 1}] * 100
    assert "x: 100.0% missing" in trying.compare(gate, {"files": data()}, {"files": gone}).said

    two = trying.compare(gate, {"files": data(), "orders": data()}, {"files": data(), "orders": data(shift=1.0)})
    assert two.said.startswith("4 columns of ") and "orders.x: psi" in two.said and "files.x" not in two.said
    more = trying.compare(gate, {"files": data()}, {"files": data(), "orders": data()})
    assert "orders: only the candidate was trained on it" in more.said and not more.passed


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_rows_are_read_from_any_kind_of_file(tmp_path: Path, kind: str) -> None:
    import pandas as pd

    frame = pd.DataFrame({"x": [1.5, 2.5, 3.5], "name": ["a", "b", "ü"]})
    path = tmp_path / "kept-as-a-blob"
    {"csv": lambda: frame.to_csv(path, index=False), "parquet": lambda: frame.to_parquet(path),
     "jsonl": lambda: frame.to_json(path, orient="records", lines=True)}[kind]()  # fmt: skip
    named = [(f"test.{kind}", path)]
    assert reading.rows(named, 10) == [{"x": 1.5, "name": "a"}, {"x": 2.5, "name": "b"}, {"x": 3.5, "name": "ü"}]
    assert len(reading.rows(named, 2)) == 2
    assert reading.rows(named, 2, seed=1) == reading.rows(named, 2, seed=1)


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\0\1\2")
    for name in ("x.pkl", "x.parquet"):
        with pytest.raises(Invalid):
            reading.rows([(name, tmp_path / "x")], 10)
