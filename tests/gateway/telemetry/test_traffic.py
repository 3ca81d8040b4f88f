"""What a service has answered: by version, class and status, how fast, from which starts, for how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.environments.models import ServiceManifest
from bough.gateway.control_client import traffic_of
from bough.gateway.models import LaneTraffic, RouteTraffic, Starts, Traffic
from bough.gateway.operations import ServiceTraffic, described
from bough.gateway.telemetry.metrics import LATENCY_S, quantile_s, share_within
from bough.kernel.platform import Platform, PoolSettings
from bough.kernel.scale import Scale
from bough.kernel.traffic import quota
from bough.kernel.workloads import Resources, Service

from ..conftest import Replica, Running, route

Make = Callable[..., Replica]
PRICED = Platform(pools={"sure": PoolSettings(kind="on-demand", zones={"here": 0.4}, cpus=8)})  # 0.05 a core's hour
BUCKETS = st.lists(st.integers(0, 1000), min_size=len(LATENCY_S) + 1, max_size=len(LATENCY_S) + 1)


def of(release: str, deployment: str, statuses: dict[int, int], slow: int = 0) -> RouteTraffic:
    """`slow` of the answers took between 0.5 and 1 s, all others between 5 and 10 ms."""
    buckets = [0] * (len(LATENCY_S) + 1)
    buckets[LATENCY_S.index(0.01)] = sum(statuses.values()) - slow
    buckets[LATENCY_S.index(1.0)] = slow
    return RouteTraffic(
        project="shop", environment="main", service="churn", api="v1", release=release, deployment=deployment,
        statuses=statuses, buckets=buckets,
    )  # fmt: skip


def told(seen: Traffic, platform: Platform = PRICED, **settings: Any) -> ServiceTraffic:
    service = ServiceManifest(settings=Service(model="m:M", **settings), bundle="b", digest="d")
    return described(("shop", "main"), "churn", service, seen, platform)


SEEN = Traffic(
    started_at=1.0,
    routes=[
        of("6", "", {200: 50}), of("7", "dep", {200: 100, 422: 3, 500: 1, 503: 1}, slow=5),
        of("7/v8", "new", {200: 45}),
        msgspec.structs.replace(of("9", "else", {200: 999}), service="other"),
    ],
    lanes=[
        LaneTraffic(deployment="dep", replicas=2, replica_s=7200.0, per_s=3.0, batches=50, begun=105, starts={
            "pool": Starts(count=2, seconds=0.02), "cold": Starts(count=1, seconds=3.0)}),
        LaneTraffic(deployment="new", replicas=1, replica_s=3600.0, per_s=1.0, batches=25, begun=45, starts={
            "pool": Starts(count=2, seconds=0.06)}),
        LaneTraffic(deployment="else", replicas=9, replica_s=9e9, begun=999),
    ],
)  # fmt: skip


def test_versions_are_told_apart_by_share_errors_and_latency() -> None:
    answer = told(SEEN)
    assert (answer.requests, answer.replicas, answer.per_s, answer.per_batch) == (200, 3, 4.0, 2.0)
    assert [(each.release, each.answering, each.share) for each in answer.versions] == [
        ("6", False, 25.0), ("7", True, 52.5), ("7/v8", True, 22.5)
    ]  # fmt: skip
    seven = answer.versions[1]
    assert seven.answers == {"2xx": 100, "4xx": 3, "5xx": 2}
    assert seven.statuses == {"200": 100, "422": 3, "500": 1, "503": 1}
    assert 5 < seven.p50_ms < 10 < 500 < seven.p99_ms < 1000


def test_items_are_the_requests_that_were_answered_well_and_what_they_carried_beyond_one_each() -> None:
    assert (told(SEEN).items, told(SEEN).items_per_s) == (195, 4.0)
    several = msgspec.structs.replace(SEEN.routes[1], further=900, further_per_s=26.0)
    answer = told(msgspec.structs.replace(SEEN, routes=[SEEN.routes[0], several, *SEEN.routes[2:]]))
    assert (answer.items, answer.items_per_s, answer.per_s) == (1095, 30.0, 4.0)
    assert [each.items for each in answer.versions] == [50, 1000, 45]


def test_warm_and_cold_starts_are_told_apart() -> None:
    found = {each.kind: (each.count, each.mean_ms) for each in told(SEEN).starts}
    assert found == {"pool": (4, 20.0), "cold": (1, 3000.0)}


def test_the_objective_is_kept_or_missed_by_what_was_measured() -> None:
    assert told(SEEN).objective is None
    missed, kept = (told(SEEN, scale=Scale(max=4, latency=each)).objective for each in (0.25, 1.0))
    assert missed is not None and kept is not None
    assert (missed.kept, round(missed.within, 3)) == (False, round(145 / 150, 3))
    assert (kept.kept, kept.within) == (True, 1.0)


def test_a_thousand_requests_cost_the_time_of_the_replicas() -> None:
    cost = told(SEEN).cost
    assert cost.core_hour == pytest.approx(0.05)
    assert cost.per_1000 == pytest.approx(3.0 * 0.05 / 150 * 1000)  # three replica-hours for 150 requests
    assert told(SEEN, resources=Resources(cpus=2.0)).cost.per_1000 == pytest.approx(2 * cost.per_1000)
    assert told(SEEN, Platform()).cost.per_1000 == -1.0  # nobody says what a core costs
    assert told(SEEN, resources=Resources(gpus=1)).cost.per_1000 == -1.0
    assert told(Traffic(started_at=1.0)).cost.per_1000 == -1.0


def test_what_is_turned_away_makes_nothing_look_faster(gateway: Running, replicas: Make) -> None:
    limits = {"route": quota("5/h")}
    gateway.start(routes=[route("churn", replicas(), release=7, limits=limits)])
    gateway.until_up("dep-churn")
    answers = [gateway.post("churn", 1)[0] for _ in range(45)]
    assert (answers.count(200), answers.count(429)) == (5, 40)

    def counted() -> RouteTraffic:
        seen = traffic_of(gateway.home / "run" / "gateway.sock")
        assert seen is not None
        return seen.routes[0]

    gateway.wait(lambda: sum(counted().statuses.values()) == 45)
    assert (sum(counted().buckets), counted().refused, counted().statuses) == (5, 40, {200: 5, 429: 40})
    (version,) = told(Traffic(started_at=1.0, routes=[counted()])).versions
    assert (version.requests, version.refused, version.p50_ms) == (
        45,
        40,
        pytest.approx(1000 * quantile_s(counted().buckets, 0.5), rel=0.01),
    )
    text = gateway.request("GET", "/metrics")[2].decode()
    assert 'bough_refusals_total{api="v1",environment="main",project="shop",release="7",service="churn"} 40.0' in text


def test_a_request_that_was_taken_in_and_not_answered_in_time_counts_with_its_time(
    gateway: Running, replicas: Make
) -> None:
    replica = replicas()
    replica.gate.clear()
    gateway.start(routes=[route("churn", replica, release=7, timeout_s=0.2)])
    gateway.until_up("dep-churn")
    assert gateway.post("churn", 1)[0] == 504
    replica.gate.set()
    seen = traffic_of(gateway.home / "run" / "gateway.sock")
    assert seen is not None and (sum(seen.routes[0].buckets), seen.routes[0].refused) == (1, 0)
    assert quantile_s(seen.routes[0].buckets, 0.5) > 0.1


@given(BUCKETS, st.floats(0.01, 0.999))
def test_a_quantile_lies_in_its_bucket_and_agrees_with_the_share(buckets: list[int], share: float) -> None:
    found = quantile_s(buckets, share)
    if not sum(buckets):
        assert found == 0.0 and share_within(buckets, 1.0) == 1.0
    else:
        assert share_within(buckets, found) == pytest.approx(share, abs=1e-6)


def test_the_gateway_counts_what_it_answers(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas(), release=7)])
    gateway.until_up("dep-churn")
    for _ in range(5):
        assert gateway.post("churn", 1)[0] == 200
    assert gateway.request("GET", "/v1/churn/predict")[0] == 405

    def lane() -> LaneTraffic:
        seen = traffic_of(gateway.home / "run" / "gateway.sock")
        assert seen is not None
        return seen.lanes[0]

    gateway.wait(lambda: lane().replica_s > 0)
    seen = traffic_of(gateway.home / "run" / "gateway.sock")
    assert seen is not None and [each.release for each in seen.routes] == ["7"]
    assert seen.routes[0].statuses == {200: 5} and sum(seen.routes[0].buckets) == 5
    assert (lane().begun, lane().replicas, lane().deployment) == (5, 1, "dep-churn")
