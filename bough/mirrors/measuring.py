"""What other tools have measured, in the forms in which they write it, as percentiles and shares by name.

Read are HAR (browsers), CSV with a column of latencies (JMeter, hey, spreadsheets), the summary and the points of k6,
the report and the results of vegeta, the report of oha. ALL stands for all requests of a file together; a request to
Bough's gateway is named by its service, any other by its label or its path.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from bough.kernel.errors import Invalid
from bough.mirrors.rules import percentile

ALL = "all"
REQUESTS, ERRORS = "requests", "error_share"
PARTS = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
FORMS = "HAR, CSV with a header, or the JSON of k6, vegeta or oha"
Measured = dict[str, dict[str, float]]  # by name: metric -> value
_SERVICE = re.compile(r"/(?:v1|web)/([a-z0-9-]+?)(?:--[a-z0-9-]+)?(?:\.[a-z0-9-]+)?(?:/|$)")
_LABELS = ("label", "name", "service", "url", "path")
_STATUSES = ("status", "status_code", "responsecode", "code")
_LATENCIES = {  # columns, as milliseconds
    "elapsed": 1.0, "latency_ms": 1.0, "duration_ms": 1.0, "elapsed_ms": 1.0, "milliseconds": 1.0, "ms": 1.0,
    "response_time": 1000.0, "latency_s": 1000.0, "duration_s": 1000.0, "seconds": 1000.0,
}  # fmt: skip
_PAGE = {"onContentLoad": "content_load", "onLoad": "load"}
_NS, _S = 1e-6, 1e3  # as milliseconds


class Sample(NamedTuple):
    name: str
    ms: float
    failed: bool


def read(content: bytes) -> Measured:
    """Raises `Invalid` (BASELINE_UNREADABLE)."""
    try:
        text = content.decode("utf-8-sig").strip()
        found = _json(text) if text.startswith("{") else _summed(_rows(text))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, csv.Error) as error:
        raise _unreadable(f"{type(error).__name__}: {error}") from error
    if not found:
        raise _unreadable("it holds no request")
    return found


def service_of(address: str) -> str:
    """The service that a URL or a path names; else its path, else the text itself."""
    path = urlsplit(address).path or address
    found = _SERVICE.match(path)
    return found.group(1) if found else path


def _json(text: str) -> Measured:
    try:
        whole = msgspec.json.decode(text)
    except msgspec.DecodeError:  # a line for each request
        return _summed(_lines(text))
    forms: dict[str, Callable[[Any], Measured]] = {
        "log": _har, "metrics": _k6, "latencies": _vegeta, "latencyPercentiles": _oha,
    }  # fmt: skip
    for key, form in forms.items():
        if key in whole:
            return form(whole)
    return _summed(_lines(text))


def _har(whole: Any) -> Measured:
    entries = whole["log"]["entries"]
    found = _summed(
        Sample(service_of(each["request"]["url"]), float(each["time"]), _failed(each["response"]["status"]))
        for each in entries
    )
    shown: dict[str, list[float]] = defaultdict(list)
    for page in whole["log"].get("pages", ()):
        for key, name in _PAGE.items():
            if (ms := page.get("pageTimings", {}).get(key)) is not None and ms >= 0:
                shown[name].append(float(ms))
    for name, values in shown.items():
        found[ALL] |= {f"{name}_{part}": _part(values, share) for part, share in PARTS.items()}
    return found


def _k6(whole: Any) -> Measured:
    def of(metric: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = whole["metrics"].get(metric, {})
        values: Mapping[str, Any] = found.get("values", found)
        return values

    latency, failed = of("http_req_duration"), of("http_req_failed")
    share = failed.get("rate", failed.get("value", 0.0))
    names = {"med": "p50_ms", "p(50)": "p50_ms", "p(95)": "p95_ms", "p(99)": "p99_ms"}
    parts = {ours: float(latency[theirs]) for theirs, ours in names.items() if theirs in latency}
    return {ALL: {REQUESTS: float(of("http_reqs")["count"]), ERRORS: float(share), **parts}} if parts else {}


def _vegeta(whole: Any) -> Measured:
    latency = whole["latencies"]
    parts = {f"p{part}_ms": latency[f"{part}th"] * _NS for part in (50, 95, 99) if f"{part}th" in latency}
    return {ALL: {REQUESTS: float(whole["requests"]), ERRORS: 1.0 - float(whole["success"]), **parts}}


def _oha(whole: Any) -> Measured:
    latency, statuses = whole["latencyPercentiles"], whole["statusCodeDistribution"]
    away = sum(whole.get("errorDistribution", {}).values())
    failed = away + sum(count for status, count in statuses.items() if _failed(status))
    total = away + sum(statuses.values())
    parts = {f"p{part}_ms": latency[f"p{part}"] * _S for part in (50, 95, 99) if latency.get(f"p{part}") is not None}
    return {ALL: {REQUESTS: float(total), ERRORS: failed / total if total else 0.0, **parts}}


def _lines(text: str) -> Iterator[Sample]:
    """Points of k6, results of vegeta."""
    for line in text.splitlines():
        each = msgspec.json.decode(line)
        if "latency" in each:
            yield Sample(service_of(each.get("url", "")), each["latency"] * _NS, _failed(each["code"]))
        elif each.get("metric") == "http_req_duration" and each.get("type") == "Point":
            tags = each["data"].get("tags", {})
            name = service_of(tags.get("name", tags.get("url", "")))
            yield Sample(name, float(each["data"]["value"]), _failed(tags.get("status", "0")))


def _rows(text: str) -> Iterator[Sample]:
    rows = csv.DictReader(io.StringIO(text))
    columns = {name.strip().lower().replace("-", "_").replace(" ", "_"): name for name in rows.fieldnames or ()}
    latency = next((each for each in _LATENCIES if each in columns), "")
    if not latency:
        raise ValueError(f"none of its columns is one of {', '.join(_LATENCIES)}")
    label, status = (next((columns[each] for each in known if each in columns), "") for known in (_LABELS, _STATUSES))
    success = columns.get("success", "")
    for row in rows:
        failed = _failed(row[status]) if status else False
        if success:
            failed = failed or row[success].strip().lower() in ("false", "0")
        ms = float(row[columns[latency]]) * _LATENCIES[latency]
        yield Sample(service_of(row[label]) if label else "", ms, failed)


def _summed(samples: Iterable[Sample]) -> Measured:
    by_name: dict[str, list[Sample]] = defaultdict(list)
    for each in samples:
        if not 0 <= each.ms < math.inf:
            raise ValueError(f"a latency of {each.ms:g} ms")
        by_name[ALL].append(each)
        if each.name:
            by_name[each.name].append(each)
    return {
        name: {
            REQUESTS: float(len(found)), ERRORS: sum(each.failed for each in found) / len(found),
            **{part: _part([each.ms for each in found], share) for part, share in PARTS.items()},
        }
        for name, found in by_name.items()
    }  # fmt: skip


def _part(values: Iterable[float], share: float) -> float:
    return round(percentile(sorted(values), share), 3)


def _failed(status: Any) -> bool:
    """As reports of mirrors count: no answer at all, or the server's fault. Words in place of a number are none."""
    text = str(status).strip()
    return not text.isdigit() or int(text) == 0 or int(text) >= 500


def _unreadable(why: str) -> Invalid:
    return Invalid(f"the file is not {FORMS}; {why}", code="BASELINE_UNREADABLE", hint="bough baselines add NAME FILE")
