"""What models see and say, by release, on /metrics."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bough.gateway.models import Target
from bough.gateway.routing.routes import PAST_RELEASES, Releases
from bough.gateway.telemetry.distributions import ModelStats
from bough.runtime.frames import MAX_FIELDS, MAX_VALUES, STATS, FieldStats, Observed, Reply, Request, SideStats

from ..conftest import Replica, Running, route

Make = Callable[..., Replica]
MODEL = """
from typing import Literal, TypedDict

import bough

class Row(TypedDict, total=False):
    age: int
    plan: Literal["pro", "free"]
    note: str

class Answer(TypedDict):
    risk: float
    label: Literal["high", "low"]

class Scores:
    @bough.batch(max_size=32)
    def predict(self, rows: list[Row]) -> list[Answer]:
        return [{"risk": row["age"] / 100, "label": "high" if row["age"] > 50 else "low"} for row in rows]
"""


@pytest.fixture
def scores(folder: Path) -> Iterator[None]:
    (folder / "models.py").write_text(MODEL)
    (folder / "a").mkdir()
    command = [sys.executable, "-m", "bough.runtime.serve", "models:Scores", "--name", "model"]
    process = subprocess.Popen([*command, "--folder", str(folder), "--socket", str(folder / "a" / "replica.sock")])
    yield
    process.kill()
    process.wait()


def scrape(gateway: Running) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels."""
    text = gateway.request("GET", "/metrics")[2].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: dict[Any, float], name: str, **labels: str) -> float | None:
    """Of the one sample with at least these labels."""
    found = [
        number for (of, having), number in samples.items() if of == name and labels.items() <= dict(having).items()
    ]
    assert len(found) <= 1, found
    return found[0] if found else None


def test_the_real_replica_through_the_real_gateway(gateway: Running, folder: Path, scores: None) -> None:
    target = Target(unit="model", address=f"unix:{folder}/a/replica.sock")
    gateway.start(routes=[route("churn", targets=[target], release=7, api="v2")])
    gateway.until_up("dep-churn")
    bodies = [{"age": 30, "plan": "pro"}, {"age": 60, "plan": "pro"}, {"age": 70}, {"age": 20, "note": "x" * 50}]
    for body in bodies:
        assert gateway.request("POST", "/v2/churn/predict", msgspec.json.encode(body))[0] == 200
    labels = {"project": "shop", "environment": "main", "service": "churn", "api": "v2", "release": "7"}
    gateway.wait(lambda: value(scrape(gateway), "bough_model_input_sampled_total", **labels) == 4)
    samples = scrape(gateway)
    assert value(samples, "bough_model_input_value_sum", field="age", **labels) == 180
    assert value(samples, "bough_model_input_value_bucket", field="age", le="30.0", **labels) == 2
    assert value(samples, "bough_model_input_value_count", field="len(note)", **labels) == 1
    assert value(samples, "bough_model_input_category_total", field="plan", value="pro", **labels) == 2
    assert value(samples, "bough_model_input_missing_total", field="plan", **labels) == 2
    assert value(samples, "bough_model_output_value_sum", field="risk", **labels) == pytest.approx(1.8)
    assert value(samples, "bough_model_output_category_total", field="label", value="low", **labels) == 2
    assert value(samples, "bough_requests_total", status="200", **labels) == 4
    assert value(samples, "bough_release_info", deployment="dep-churn", **labels) == 1


def test_releases_are_told_apart_and_old_ones_stay_for_the_scrape(gateway: Running, replicas: Make) -> None:
    old, new = replicas("old"), replicas("new")
    gateway.start(routes=[route("churn", old, deployment="d1", release=1)])
    gateway.until_up("d1")
    assert gateway.post("churn", {})[0] == 200
    gateway.apply([route("churn", new, deployment="d2", release=2)])
    gateway.until_up("d2")
    gateway.wait(lambda: value(scrape(gateway), "bough_release_info", release="2", deployment="d2") == 1)
    for _ in range(2):
        assert gateway.post("churn", {})[0] == 200
    gateway.apply([route("churn", new, deployment="d2", release=3)])  # the same deployment in a later release
    assert gateway.post("churn", {})[0] == 200
    samples = scrape(gateway)
    assert [value(samples, "bough_requests_total", service="churn", release=str(n)) for n in (1, 2, 3)] == [1, 2, 1]
    assert [value(samples, "bough_request_seconds_count", service="churn", release=str(n)) for n in (1, 2, 3)] == [
        1,
        2,
        1,
    ]
    assert value(samples, "bough_release_info", service="churn") == 1


def test_a_request_during_a_rollout_counts_for_the_release_that_answers(gateway: Running, replicas: Make) -> None:
    old, new = replicas("old"), replicas("new")
    new.kill()
    gateway.start(routes=[route("churn", old, deployment="d1", release=1)])
    gateway.until_up("d1")
    gateway.apply([route("churn", new, deployment="d2", release=2)])  # which is not up
    assert gateway.post("churn", {})[0] == 200
    samples = scrape(gateway)
    assert value(samples, "bough_requests_total", service="churn") == 1
    assert value(samples, "bough_requests_total", service="churn", release="1") == 1
    assert value(samples, "bough_release_info", service="churn", release="1", deployment="d1") == 1


def test_past_releases_are_forgotten_at_last() -> None:
    releases = Releases()
    for number in range(20):
        releases.of(route("a", release=number))
    live = releases.of(route("b", release=1)).labels
    releases.prune({live, releases.of(route("a", release=0)).labels})
    kept = sorted(int(stats.labels[-1]) for stats in releases.all() if stats.labels[2] == "a")
    assert kept == [0, *range(20 - PAST_RELEASES, 20)]


def test_a_replica_that_sends_nonsense_is_still_answered_for(gateway: Running, replicas: Make) -> None:
    bodies = iter(
        [b"{", b"", b"[]", b'{"input":{"items":-5}}', b'{"input":{"items":1,"fields":{"x":{"buckets":{"999":1}}}}}']
    )

    def handle(request: Request) -> list[Reply]:
        return [Reply(0, 0, next(bodies), STATS), Reply(request.id, 200, b"1")]

    gateway.start(routes=[route("churn", replicas(handle=handle))])
    assert [gateway.post("churn", {})[0] for _ in range(5)] == [200] * 5
    assert value(scrape(gateway), "bough_model_input_sampled_total", service="churn") == 1


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.sampled_from(["input", "output", "x"]), st.none() | st.integers()).map(msgspec.json.encode)
)
def test_no_body_makes_adding_up_raise(body: bytes) -> None:
    ModelStats().add(body)


def test_adding_up_is_exact_and_bounded() -> None:
    stats = ModelStats()
    for n in range(40):
        fields = {f"f{n}.{m}": FieldStats(present=1, sum=1.0, buckets={3: 1}) for m in range(10)}
        fields["all"] = FieldStats(present=2, sum=0.5, buckets={4: 2}, values={f"v{n}": 1, "a": 1}, other=1)
        body = msgspec.json.encode(Observed(input=SideStats(items=2, fields=dict(reversed(fields.items())))))
        stats.add(body)
    total = stats.input.fields["all"]
    assert (stats.input.items, total.present, total.sum, total.buckets[4]) == (80, 80, 20.0, 80)
    assert len(stats.input.fields) == MAX_FIELDS and stats.input.dropped == 40 * 10 + 1 - MAX_FIELDS
    assert len(total.values) == MAX_VALUES and sum(total.values.values()) + total.other == 120
    assert stats.output.items == 0
