"""What other tools write of requests, read: shapes as their documentation has them."""

from __future__ import annotations

import json

import pytest

from bough.kernel.errors import Invalid
from bough.mirrors.baselines import changes
from bough.mirrors.measuring import ALL, read, service_of

HAR = {
    "log": {
        "version": "1.2",
        "pages": [{"id": "page_1", "title": "shop", "pageTimings": {"onContentLoad": 210.0, "onLoad": 480.5}},
                  {"id": "page_2", "title": "away", "pageTimings": {"onContentLoad": -1}}],
        "entries": [
            {"request": {"url": "https://old.example/v1/price/predict"}, "response": {"status": 200}, "time": 10.0},
            {"request": {"url": "https://old.example/v1/price/predict"}, "response": {"status": 503}, "time": 30.0},
            {"request": {"url": "https://old.example/logo.png?v=2"}, "response": {"status": 404}, "time": 5.0},
            {"request": {"url": "https://old.example/logo.png"}, "response": {"status": 0}, "time": 4.0},
        ],
    }
}  # fmt: skip
K6 = {
    "metrics": {
        "http_req_duration": {"avg": 21.06, "min": 1.0, "med": 20.0, "max": 90.0, "p(90)": 31.0, "p(95)": 40.5},
        "http_req_failed": {"passes": 2, "fails": 98, "value": 0.02},
        "http_reqs": {"count": 100, "rate": 9.9},
    }
}
K6_NEW = {
    "metrics": {
        "http_req_duration": {"type": "trend", "values": {"med": 20.0, "p(95)": 40.5}},
        "http_req_failed": {"type": "rate", "values": {"rate": 0.02}},
        "http_reqs": {"type": "counter", "values": {"count": 100}},
    }
}
VEGETA = {
    "latencies": {"total": 1, "mean": 2, "50th": 20_000_000, "90th": 3, "95th": 40_500_000, "99th": 80_000_000},
    "requests": 100, "success": 0.98, "status_codes": {"200": 98, "500": 2},
}  # fmt: skip
OHA = {
    "summary": {"successRate": 0.99},
    "latencyPercentiles": {"p50": 0.02, "p95": 0.0405, "p99": 0.08},
    "statusCodeDistribution": {"200": 98, "500": 1}, "errorDistribution": {"connection closed": 1},
}  # fmt: skip


def test_a_har_says_how_requests_and_pages_fared() -> None:
    found = read(json.dumps(HAR).encode())
    assert set(found) == {ALL, "price", "/logo.png"}
    assert found["price"] == {"requests": 2, "error_share": 0.5, "p50_ms": 10, "p95_ms": 30, "p99_ms": 30}
    assert found[ALL]["error_share"] == 0.5, "no answer and 503; 404 is the caller's"
    assert (found[ALL]["load_p50_ms"], found[ALL]["content_load_p99_ms"]) == (480.5, 210.0)


@pytest.mark.parametrize("of", [K6, K6_NEW, VEGETA, OHA])
def test_summaries_of_load_tests_say_the_same(of: object) -> None:
    found = read(json.dumps(of).encode())[ALL]
    assert (found["requests"], found["p50_ms"], found["p95_ms"]) == pytest.approx((100, 20.0, 40.5))
    assert found["error_share"] == pytest.approx(0.02)
    assert ("p99_ms" in found) == ("metrics" not in of), "k6 writes the 99th only where it is told to"


def test_requests_line_by_line() -> None:
    k6 = [
        {"type": "Metric", "metric": "http_req_duration", "data": {"type": "trend"}},
        *({"type": "Point", "metric": "http_req_duration",
           "data": {"value": ms, "tags": {"name": "http://h/v1/price--dearer.shop/predict", "status": status}}}
          for ms, status in ((5.0, "200"), (7.0, "500"))),
        {"type": "Point", "metric": "vus", "data": {"value": 1}},
    ]  # fmt: skip
    found = read("\n".join(map(json.dumps, k6)).encode())
    assert found["price"] == {"requests": 2, "error_share": 0.5, "p50_ms": 5, "p95_ms": 7, "p99_ms": 7}
    vegeta = [{"code": 200, "latency": 5_000_000, "url": "http://h/a"}, {"code": 0, "latency": 7_000_000, "url": ""}]
    assert read("\n".join(map(json.dumps, vegeta)).encode())[ALL] == found["price"]


@pytest.mark.parametrize(
    "text",
    [
        "timeStamp,elapsed,label,responseCode,success\n1,5,/v1/price/predict,200,true\n2,7,/v1/price/predict,200,false\n",
        "response-time,DNS+dialup,status-code,offset\n0.005,0,200,0\n0.007,0,500,1\n",
        "\ufeffservice,latency_ms,status\nprice,5,200\nprice,7,\n",
    ],
)
def test_tables_with_a_column_of_latencies(text: str) -> None:
    found = read(text.encode())
    assert found[ALL] == {"requests": 2, "error_share": 0.5, "p50_ms": 5, "p95_ms": 7, "p99_ms": 7}
    assert ("price" in found) == ("price" in text)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", b"{}", b"[1]", b"{" * 5000, b'{"log": {}}', b'{"metrics": {}}', b'{"latencies": {}}',
        b"a,b\n1,2\n",
        b"latency_ms\nnan\n", b"latency_ms\n-1\n", b"latency_ms\n", b"latency_ms\nsoon\n", b'{"log": {"entries": [7]}}',
        b'{"latencyPercentiles": [], "statusCodeDistribution": {"200": 1}}', b'{"a": ' * 100_000,
    ],
)  # fmt: skip
def test_what_is_none_of_them_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid, match="HAR, CSV") as raised:
        read(content)
    assert raised.value.own_code == "BASELINE_UNREADABLE"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("http://h:8080/v1/price/predict", "price"), ("/v1/price--dearer.shop/predict", "price"),
        ("/web/site/a", "site"),
        ("https://h/v1", "/v1"), ("Checkout", "Checkout"), ("", ""),
    ],
)  # fmt: skip
def test_services_are_known_by_their_address(address: str, name: str) -> None:
    assert service_of(address) == name


def test_a_service_is_compared_with_what_the_baseline_says_of_it_else_of_all() -> None:
    before = {ALL: {"requests": 10, "error_share": 0.0, "p50_ms": 10.0}, "price": {"p50_ms": 20.0}}
    found = changes(before, {"price": {"p50_ms": 25.0, "p95_ms": 30.0}, "site": {"p50_ms": 5.0, "error_share": 0.1}})
    assert [(each.name, each.metric, each.baseline, each.now, each.change_percent) for each in found] == [
        ("price", "p50_ms", 20.0, 25.0, 25.0), ("site", "p50_ms", 10.0, 5.0, -50.0),
        ("site", "error_share", 0.0, 0.1, 0.0),
    ]  # fmt: skip
