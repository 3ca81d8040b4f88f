"""Quotas: exact counts, whoever asks and however many at once; the headers that tell clients."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.gateway.callers.limits import Bucket, Guard, Limiter, RateLimited
from bough.gateway.models import Key
from bough.kernel.errors import Invalid
from bough.kernel.traffic import Quota, quota

from ..conftest import Replica, Running, route
from ..test_serving import code

Make = Callable[..., Replica]
DAY = 86_400


def key(text: str, **fields: Any) -> Key:
    return Key(id=f"key_{text}", hash=hashlib.sha256(text.encode()).hexdigest(), **({"project": "shop"} | fields))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("100/s", Quota(100, 1, 100)),
        ("600/min burst 50", Quota(600, 60, 50)),
        ("7/h", Quota(7, 3600, 7)),
        ("10000/day burst 1", Quota(10_000, DAY, 1)),
    ],
)
def test_a_quota_is_read_as_it_is_written(text: str, meant: Quota) -> None:
    assert quota(text) == meant


@pytest.mark.parametrize("text", ["", "100", "100/week", "0/s", "-1/s", "1/s burst 0", "1.5/s", "5/s burst"])
def test_what_is_no_quota_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        quota(text)
    assert caught.value.own_code == "QUOTA_INVALID"


@given(
    count=st.integers(1, 1000),
    period=st.sampled_from([1, 60, 3600, DAY]),
    burst=st.integers(1, 1000),
    steps=st.lists(st.floats(0, 100), max_size=60),
)
def test_a_bucket_never_gives_more_than_its_burst_and_what_time_has_brought(
    count: int, period: int, burst: int, steps: list[float]
) -> None:
    bucket, now, given_out, begun = Bucket("key", Quota(count, period, burst)), 1000.0, 0, 1000.0
    for step in steps:
        now += step
        while bucket.has(now) and given_out < 5000:
            bucket.take(now)
            given_out += 1
        assert given_out <= burst + (now - begun) * count / period + 1e-6 * (now - begun)
        assert bucket.left(now) == 0 or given_out >= 5000
        if not bucket.has(now):
            assert bucket.has(now + bucket.room_in_s(now) + 1e-6)


def test_a_bucket_gives_exactly_what_its_quota_says_over_a_long_time() -> None:
    bucket = Bucket("key", Quota(3, 1, 3))
    given_out = 0
    for tick in range(10_001):  # 100 s in hundredths
        if bucket.has(tick / 100):
            bucket.take(tick / 100)
            given_out += 1
    assert given_out == 3 + 3 * 100


def test_what_one_bucket_refuses_takes_nothing_from_another() -> None:
    limiter = Limiter()
    wide, narrow = limiter.bucket("route", Quota(10, DAY, 10)), limiter.bucket("key", Quota(1, DAY, 1), "k")
    guard = Guard("churn", [wide, narrow])
    guard.take(0.0, b"", False)
    for _ in range(5):
        with pytest.raises(RateLimited) as caught:
            guard.take(0.0, b"", False)
    assert caught.value.retry_after_s == DAY and caught.value.fields["limited"] == "key"
    assert wide.left(0.0) == 9


def test_full_buckets_are_forgotten_when_there_are_many_and_others_never() -> None:
    limiter = Limiter()
    for number in range(10_000):
        limiter.bucket("key", Quota(1, 1, 1), str(number))
    used = limiter.bucket("key", Quota(1, DAY, 1), "used")
    used.take(5.0)
    assert limiter.sweep(5.0) and not limiter.sweep(5.0)
    assert limiter.bucket("key", Quota(1, DAY, 1), "used") is used


def test_a_route_answers_exactly_its_quota_to_64_clients_at_once(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas(), limits={"route": Quota(1000, DAY, 1000)})])
    statuses: Counter[int] = Counter()
    lock, begin = threading.Lock(), threading.Barrier(64)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        mine: Counter[int] = Counter()
        begin.wait(60)
        for _ in range(25):
            connection.request("POST", "/v1/churn/predict", b"{}")
            answer = connection.getresponse()
            answer.read()
            mine[answer.status] += 1
        connection.close()
        with lock:
            statuses.update(mine)

    clients = [threading.Thread(target=client) for _ in range(64)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(60)
    assert statuses == {200: 1000, 429: 600}


def test_each_key_and_each_tenant_has_its_own_quota(gateway: Running, replicas: Make) -> None:
    found = route("churn", replicas(), access="key", limits={"key": Quota(3, DAY, 3), "tenant": Quota(4, DAY, 4)})
    keys = [
        key("a", tenant="acme"), key("b", tenant="acme"), key("c", tenant="other"),
        key("d", quota=Quota(5, DAY, 5)),
    ]  # fmt: skip
    gateway.start(routes=[found], keys=keys)

    def admitted(text: str) -> int:
        return sum(gateway.post("churn", {}, X_API_Key=text)[0] == 200 for _ in range(6))

    assert [admitted(text) for text in "abcd"] == [3, 1, 3, 5]


def test_callers_without_a_key_are_told_apart_by_address(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas(), limits={"key": Quota(2, DAY, 2)})])
    asked = [gateway.post("churn", {}, X_Forwarded_For=address)[0] for address in ("10.0.0.1", "10.0.0.2") * 3]
    assert Counter(asked) == {200: 4, 429: 2}
    assert [gateway.post("churn", {})[0] for _ in range(3)] == [200, 200, 429]


def test_answers_say_what_is_left_and_refusals_when_to_come_back(gateway: Running, replicas: Make) -> None:
    found = route("churn", replicas(), limits={"key": Quota(2, 60, 2), "route": Quota(100, 1, 50)})
    gateway.start(routes=[found])
    status, headers, _ = gateway.post("churn", {})
    assert status == 200
    assert headers["ratelimit-policy"] == '"route";q=100;w=1;burst=50, "key";q=2;w=60'
    assert headers["ratelimit"].endswith('"key";r=1;t=30')
    gateway.post("churn", {})
    status, headers, body = gateway.post("churn", {})
    assert (status, code(body)) == (429, "RATE_LIMITED")
    assert headers["ratelimit"].endswith('"key";r=0;t=60')
    assert 29 <= int(headers["retry-after"]) <= 30


def test_who_waits_as_long_as_it_was_told_is_answered(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas(), limits={"route": Quota(1, 1, 1)})])
    status, headers, _ = gateway.post("churn", {})
    while status == 200:  # a slow machine may take a second for each
        status, headers, _ = gateway.post("churn", {})
    assert status == 429
    time.sleep(int(headers["retry-after"]))
    assert gateway.post("churn", {})[0] == 200


def test_a_deploy_gives_nobody_a_fresh_quota(gateway: Running, replicas: Make) -> None:
    limits = {"route": Quota(2, DAY, 2)}
    gateway.start(routes=[route("churn", replicas(), limits=limits)])
    assert gateway.post("churn", {})[0] == 200
    gateway.apply([route("churn", replicas("u2"), limits=limits, release=2, deployment="dep-2")])
    assert [gateway.post("churn", {})[0] for _ in range(2)] == [200, 429]


def test_requests_without_a_limit_say_nothing_of_one(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    assert "ratelimit" not in gateway.post("churn", {})[1]
