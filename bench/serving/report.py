"""Lines of a run to a table a person reads: medians over rounds, ratios to Bough, targets kept or missed."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from roster import PEERS
from workloads import WORKLOADS

Line = dict[str, Any]
TOKENS = 100
PLANE = "bough-plane"


class Figures:
    """Medians, found by peer, workload and connections; `None` where there is no figure."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = list(lines)
        loaded = {line["peer"] for line in self.lines if line["kind"] == "load"}
        self.own = "bough" if "bough" in loaded else PLANE  # which of the two "Bough" means in this run

    def median(self, kind: str, field: str, **where: Any) -> float | None:
        values = [
            line[field] for line in self.lines
            if line["kind"] == kind and line.get("phase") != "pilot" and where.items() <= line.items()
        ]  # fmt: skip
        return statistics.median(values) if values else None

    def load(self, peer: str, workload: str, connections: int, field: str = "rps") -> float | None:
        return self.median("load", field, peer=peer, workload=workload, connections=connections)

    def best(self, kinds: Sequence[str], workload: str, connections: int) -> float | None:
        found = [self.load(name, workload, connections) for name, peer in PEERS.items() if peer.kind in kinds]
        return max((value for value in found if value is not None), default=None)

    def limit(self, field: str, workload: str) -> float | None:
        """One call alone (`direct_p50_ms`) or a fresh Python (`fresh_ms`)."""
        found = (line[field].get(workload) for line in self.lines if line["kind"] == "limits")
        return next((value for value in found if value), None)

    def limit_by_batch(self, workload: str) -> dict[str, float]:
        """Answers per second without a server by batch size, medians of what each round measured."""
        lines = [line["throughput"].get(workload) for line in self.lines if line["kind"] == "limits"]
        found = [line["by_batch"] for line in lines if line]
        return {size: statistics.median(each[size] for each in found) for size in (found[0] if found else ())}

    def peers(self) -> list[str]:
        seen = {line["peer"] for line in self.lines if line["kind"] in ("load", "not_run")}
        return [name for name in PEERS if name in seen]

    def connections(self) -> list[int]:
        return sorted({line["connections"] for line in self.lines if line["kind"] == "load"})

    def batching(self, peer: str, workload: str, connections: int) -> str:
        for line in self.lines:
            if line["kind"] == "load" and line["phase"] == "run" and line["batching"] and (
                (line["peer"], line["workload"], line["connections"]) == (peer, workload, connections)
            ):  # fmt: skip
                return "b" if workload in PEERS[peer].batches else ""
        return ""

    def failed(self, peer: str, workload: str, connections: int) -> int:
        return sum(
            line["failed"] for line in self.lines
            if line["kind"] == "load" and line["phase"] == "run"
            and (line["peer"], line["workload"], line["connections"]) == (peer, workload, connections)
        )  # fmt: skip

    def reason(self, peer: str, workload: str) -> str:
        found = [
            line["reason"] for line in self.lines
            if line["kind"] == "not_run" and line["peer"] == peer and line["workload"] in ("", workload)
        ]  # fmt: skip
        return found[0] if found else ""


Figure = Callable[[Figures], float | None]


class Target(NamedTuple):
    text: str
    wanted: float
    at_most: bool
    value: Figure


def render(lines: Sequence[Line]) -> str:
    figures = Figures(lines)
    parts = [_machine(lines)]
    for workload in WORKLOADS:
        if any(line["kind"] in ("load",) and line["workload"] == workload for line in lines):
            parts.append(_throughput(figures, workload))
    parts += [_others(figures), _pilot(lines), _targets(figures)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _machine(lines: Sequence[Line]) -> str:
    machine = next(line for line in lines if line["kind"] == "machine")
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {machine['started']}\n"
        f"{machine['workers']} processes per peer, medians of {machine['repeat']} rounds of {machine['seconds']} s, "
        "wrk on the same machine"
    )


def _throughput(figures: Figures, workload: str) -> str:
    """Requests (or tokens) per second by connections, then latency, CPU and memory at 64."""
    unit = TOKENS if workload == "stream" else 1
    counts = figures.connections()
    at = 64 if 64 in counts else counts[-1]
    own = figures.load(figures.own, workload, at)
    head = ["peer", *(f"c={count}" for count in counts), "to Bough", "p50 ms", "p99 ms", "CPU us", "PSS MB", "errors"]
    rows = [head]
    notes: list[str] = []
    for peer in figures.peers():
        if workload not in PEERS[peer].workloads:
            continue
        if all(figures.load(peer, workload, count) is None for count in counts):
            notes.append(f"{peer}: not run: {figures.reason(peer, workload) or 'no figure'}")
            continue
        rates = [figures.load(peer, workload, count) for count in counts]
        cells = [
            _number(rate and rate * unit) + figures.batching(peer, workload, count)
            for rate, count in zip(rates, counts, strict=True)
        ]
        failed = sum(figures.failed(peer, workload, count) for count in counts)
        there = figures.load(peer, workload, at)
        ratio = f"{there / own:.2f}" if there and own else "-"
        rest = [figures.load(peer, workload, at, field) for field in ("p50_ms", "p99_ms", "cpu_us", "pss_mb")]
        rows.append([peer, *cells, ratio, *map(_number, rest), f"{failed} !" if failed else "0"])
        if (reason := figures.reason(peer, workload)) and failed == 0:
            notes.append(f"{peer}: in part not run: {reason}")
    title = f"{workload}: {'tokens' if workload == 'stream' else 'requests'} per second"
    answer = "stream" if workload == "stream" else "request"
    title += f" (latency, CPU per {answer} and memory at c={at}; b: batching on)"
    if limits := figures.limit_by_batch(workload):
        each = ", ".join(f"{_number(rate)} in batches of {size}" for size, rate in limits.items())
        notes.append(f"in-process limit per second: {each}")
    return "\n".join([title, _table(rows), *notes])


def _others(figures: Figures) -> str:
    rows = [["peer", "start noop ms", "start minilm ms", "token alone ms", "token c=64 ms", "replica noop MB",
             "replica minilm MB"]]  # fmt: skip
    for peer in figures.peers():
        values = [
            figures.median("start", "first_answer_ms", peer=peer, workload="noop"),
            figures.median("start", "first_answer_ms", peer=peer, workload="minilm"),
            figures.median("first_token", "p50_ms", peer=peer, connections=1),
            figures.median("first_token", "p50_ms", peer=peer, connections=64),
            figures.median("replica_memory", "pss_mb", peer=peer, workload="noop"),
            figures.median("replica_memory", "pss_mb", peer=peer, workload="minilm"),
        ]
        if any(value is not None for value in values):
            rows.append([peer, *map(_number, values)])
    lines = ["from the command to the first answer, first token of a stream, memory of a further replica", _table(rows)]
    for line in figures.lines:
        if line["kind"] in ("wake", "cold"):
            what = "woken through the zygote" if line["kind"] == "wake" else "started from no process"
            lines.append(
                f"{line['peer']} {what}, {line['workload']}: p50 {line['p50_ms']} ms, "
                f"p99 {line['p99_ms']} ms, slowest {line['max_ms']} ms of {line['count']}"
            )
    return "\n".join(lines)


def _pilot(lines: Sequence[Line]) -> str:
    """Both settings of batching, as the pilot saw them."""
    rates: dict[tuple[str, str, int], dict[bool, float]] = {}
    for line in lines:
        if line["kind"] == "load" and line["phase"] == "pilot":
            key = (line["peer"], line["workload"], line["connections"])
            rates.setdefault(key, {})[line["batching"]] = line["rps"]
    if not rates:
        return ""
    rows = [["peer", "workload", "c", "off", "on"]]
    for (peer, workload, connections), found in rates.items():
        rows.append([peer, workload, str(connections), _number(found.get(False)), _number(found.get(True))])
    return "batching off and on, requests per second of the pilot\n" + _table(rows)


def _targets(figures: Figures) -> str:
    rows = [["target", "wanted", "measured", ""]]
    for target in TARGETS:
        value = target.value(figures)
        if value is None:
            verdict = "not measured"
        else:
            verdict = "pass" if (value <= target.wanted if target.at_most else value >= target.wanted) else "FAIL"
        wanted = f"{'<=' if target.at_most else '>='} {target.wanted:g}"
        rows.append([target.text, wanted, "-" if value is None else f"{value:.3g}", verdict])
    return "targets (at 64 connections unless said)\n" + _table(rows)


def _over(value: float | None, other: float | None) -> float | None:
    return value / other if value and other else None


def _ratio(workload: str, connections: int, other: Figure) -> Figure:
    return lambda figures: _over(figures.load(figures.own, workload, connections), other(figures))


def _best(workload: str, connections: int, *kinds: str) -> Figure:
    return lambda figures: figures.best(kinds, workload, connections)


def _limit(workload: str, batch: int = 0) -> Figure:
    """Of any batch, or of this one."""

    def found(figures: Figures) -> float | None:
        limits = figures.limit_by_batch(workload)
        return limits.get(str(batch)) if batch else max(limits.values(), default=None)

    return found


def _slope(figures: Figures) -> float | None:
    high = figures.load(figures.own, "minilm", 64, "p99_ms")
    return _over(high, figures.load(figures.own, "minilm", 64, "p50_ms"))


def _single_minilm(figures: Figures) -> float | None:
    """Milliseconds beyond 1.1 times a direct call."""
    p50, direct = figures.load(figures.own, "minilm", 1, "p50_ms"), figures.limit("direct_p50_ms", "minilm")
    return p50 - 1.1 * direct if p50 is not None and direct else None


def _cold(figures: Figures) -> float | None:
    added = figures.median("cold", "p50_ms", peer=PLANE, workload="minilm")
    return _over(added, figures.limit("fresh_ms", "minilm"))


TARGETS: tuple[Target, ...] = (
    Target("noop: times the raw loop", 0.35, False, _ratio("noop", 64, lambda f: f.load("raw", "noop", 64))),
    Target("noop: times the best model server", 10, False, _ratio("noop", 64, _best("noop", 64, "server"))),
    Target("noop: times FastAPI", 2.3, False, _ratio("noop", 64, lambda f: f.load("fastapi", "noop", 64))),
    Target("noop: us of CPU per request", 40, True, lambda f: f.load(f.own, "noop", 64, "cpu_us")),
    Target("noop, 1 connection: p50 ms", 0.35, True, lambda f: f.load(f.own, "noop", 1, "p50_ms")),
    Target("logistic: times the best peer", 4, False, _ratio("logistic", 64, _best("logistic", 64, "server", "web"))),
    Target("logistic: times the best model server", 8, False, _ratio("logistic", 64, _best("logistic", 64, "server"))),
    Target("logistic from its file: times the best peer", 4, False,
           lambda f: _over(f.load("bough-file", "logistic", 64), f.best(("server", "web"), "logistic", 64))),
    Target("logistic from its file: times the best server", 8, False,
           lambda f: _over(f.load("bough-file", "logistic", 64), f.best(("server",), "logistic", 64))),
    Target("minilm: times the best peer", 1.25, False, _ratio("minilm", 64, _best("minilm", 64, "server", "web"))),
    Target("minilm: times the in-process limit", 0.93, False, _ratio("minilm", 64, _limit("minilm"))),
    Target("minilm, 8 connections: times the best peer", 1.2, False,
           _ratio("minilm", 8, _best("minilm", 8, "server", "web"))),
    Target("minilm, 8 connections: times the limit", 0.9, False, _ratio("minilm", 8, _limit("minilm"))),
    Target("minilm, 8 connections: times the limit of 4 and 4", 0.9, False, _ratio("minilm", 8, _limit("minilm", 4))),
    Target("minilm: p99 / p50", 1.6, True, _slope),
    Target("minilm, 1 connection: p50 beyond 1.1 direct calls, ms", 0.3, True, _single_minilm),
    Target("stream: times FastAPI's tokens", 0.8, False,
           _ratio("stream", 64, lambda f: f.load("fastapi", "stream", 64))),
    Target("stream: times the best model server", 4, False, _ratio("stream", 64, _best("stream", 64, "server"))),
    Target("stream alone: first token ms", 1, True,
           lambda f: f.median("first_token", "p50_ms", peer=f.own, connections=1)),
    Target("stream: first token ms", 15, True,
           lambda f: f.median("first_token", "p50_ms", peer=f.own, connections=64)),
    Target("wake through the zygote, minilm: p50 ms", 50, True,
           lambda f: f.median("wake", "p50_ms", peer=PLANE, workload="minilm")),
    Target("wake through the zygote, minilm: p99 ms", 250, True,
           lambda f: f.median("wake", "p99_ms", peer=PLANE, workload="minilm")),
    Target("cold start, minilm: times a fresh Python", 1.2, True, _cold),
    Target("a further replica, minilm: MB", 15, True,
           lambda f: f.median("replica_memory", "pss_mb", peer=f.own, workload="minilm")),
    Target("node, gateway, zygote and two idle replicas: PSS MB", 80, True,
           lambda f: f.median("start", "pss_mb", peer=PLANE, workload="noop")),
)  # fmt: skip


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if not column else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


if __name__ == "__main__":
    print(render([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]))
