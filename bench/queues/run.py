"""Bough's queues beside others with their real stores; `make bench-queue`.

rate       items a second, put one by one and handled, from the first put to the last handled; medians of rounds
latency    from put to handled, at 20 items a second
backlog    the same rate with 1,000,000 items waiting in the queue
burst      10,000 items at once: until handled, and until nothing of the handler runs any more
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.branches.stand import Stand
from bench.queues import peers
from bough.adapters.queue import Draft, Round
from bough.adapters.queue.sqlite import SqliteQueues

HERE = Path(__file__).parent
OUT = Path("/tmp/bough-queue-bench.out")
BYTES = 200
STYLES = {"huey": ["-k process -w 2", "-k thread -w 4"], "dramatiq": ["-p 2 -t 8", "-p 1 -t 8"], "procrastinate": [""]}
COUNTS = {"huey": 3000, "dramatiq": 6000, "procrastinate": 2000}
LUA = """
local body = '{"put_at": 0, "text": "' .. string.rep("x", %d) .. '"}'
wrk.method = "POST"; wrk.body = body; wrk.headers["Content-Type"] = "application/json"
function response(status) if status ~= 202 then wrk.thread:set("bad", 1) end end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="huey,dramatiq,procrastinate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--environment", type=Path, default=Path(tempfile.gettempdir()) / "bough-bench-queues")
    chosen = parser.parse_args()
    binaries = peers.environment(chosen.environment)
    rates = {"bough": bough(chosen.rounds, chosen.seconds, chosen.million)}
    for peer in filter(None, chosen.peers.split(",")):
        try:
            rates[peer] = of_peer(peer, binaries, chosen.rounds)
        except peers.Absent as why:
            print(f"{peer}: left out, {why}")
    for peer, rate in rates.items():
        print(f"{peer:14} {rate:8.0f} items/s   bough is {rates['bough'] / rate:.1f} times that")


def of_peer(peer: str, binaries: Path, rounds: int) -> float:
    best = 0.0
    for style in STYLES[peer]:
        found, late = [], 0.0
        for _ in range(rounds):
            with (
                tempfile.TemporaryDirectory(prefix="bq") as folder,
                peers.store(peer, Path(folder), binaries) as address,
            ):
                out = Path(folder) / "out"
                with peers.working(peer, address, out, binaries, style) as variables:
                    put = [str(binaries / "python"), str(HERE / "jobs.py"), "put"]
                    count = COUNTS[peer]
                    subprocess.run([*put, str(count), str(BYTES), "0"], env=variables, check=True)
                    lines = wait_for(out, count)
                    found.append(count / (max(done for _, done in lines) - min(at for at, _ in lines)))
                    out.write_bytes(b"")
                    subprocess.run([*put, "100", str(BYTES), "20"], env=variables, check=True)
                    late = statistics.median(done - at for at, done in wait_for(out, 100)) * 1000
        rate = statistics.median(found)
        print(f"{peer} {style}: {rate:.0f} items/s, p50 {late:.1f} ms at 20 a second", flush=True)
        best = max(best, rate)
    return best


def bough(rounds: int, seconds: int, million: int) -> float:
    with tempfile.TemporaryDirectory(prefix="bq") as folder:
        stand = Stand(Path(folder))
        stand.up()
        try:
            stand.bough("deploy", cwd=HERE / "project")
            post(stand, 1)
            wait_for(OUT, 1)
            latency(stand)
            plain = [under_load(stand, seconds) for _ in range(rounds)]
            shown("bough", plain)
            burst(stand)
            fill(stand, million)
            full = [under_load(stand, seconds) for _ in range(rounds)]
            shown(f"bough, {million} waiting", full)
            slower = 1 - statistics.median(map(sum, full)) / statistics.median(map(sum, plain))
            print(f"with {million} waiting: {slower:.0%} slower (put and handled together)", flush=True)
        finally:
            stand.down()
    return statistics.median(min(each) for each in plain)


def under_load(stand: Stand, seconds: int) -> tuple[float, float]:
    """Put and handled per second, while both go on: `wrk` puts one item with each request, from 32 connections."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % BYTES)
        script.flush()
        before, began = handled(), time.perf_counter()
        address = f"http://127.0.0.1:{stand.gateway}/queues/lines"
        command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "-s", script.name, address]
        done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        took, ended = time.perf_counter() - began, handled() - before
    total = next(int(line.split()[0]) for line in done.splitlines() if "requests in" in line)
    if "Non-2xx" in done:
        raise SystemExit(done)
    limit = time.monotonic() + 60
    while handled() - before < total and time.monotonic() < limit:
        time.sleep(0.02)
    return total / took, ended / took


def latency(stand: Stand) -> None:
    """At 20 a second: from put to handled, to the answer of the POST, and to the result in the sender's hands."""
    OUT.write_bytes(b"")
    accepted, fetched = [], []
    connection = http.client.HTTPConnection("127.0.0.1", stand.gateway)
    for _ in range(100):
        began = time.perf_counter()
        body = json.dumps({"put_at": time.time(), "text": "x" * BYTES})
        connection.request("POST", "/queues/lines", body)
        id = json.loads(connection.getresponse().read())["id"]
        accepted.append(time.perf_counter() - began)
        connection.request("GET", f"/queues/lines/{id}?wait=10")
        connection.getresponse().read()
        fetched.append(time.perf_counter() - began)
        time.sleep(max(0.0, 0.05 - (time.perf_counter() - began)))
    late = [done - at for at, done in wait_for(OUT, 100)]
    accepted_ms, handled_ms, fetched_ms = (statistics.median(each) * 1000 for each in (accepted, late, fetched))
    said = f"accepted {accepted_ms:.1f} ms, handled {handled_ms:.1f} ms, result fetched {fetched_ms:.1f} ms"
    print(f"bough at 20 a second, p50: {said}", flush=True)


def burst(stand: Stand) -> None:
    OUT.write_bytes(b"")
    lines = b"\n".join([b'{"put_at": 0, "text": "x"}'] * 10_000)
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", stand.gateway, timeout=60)
    connection.request("POST", "/queues/lines", lines, {"Content-Type": "application/x-ndjson"})
    connection.getresponse().read()
    accepted = time.perf_counter() - began
    wait_for(OUT, 10_000)
    took = time.perf_counter() - began
    print(f"a burst of 10,000: accepted in {accepted:.2f} s, handled in {took:.2f} s", flush=True)
    while running(stand):
        time.sleep(0.1)
    gone = time.perf_counter() - began - took
    print(f"after the burst nothing of the handler runs any more within {gone:.1f} s (sleep_after_s = 5)", flush=True)


def running(stand: Stand) -> int:
    """Replicas of the handler."""
    found = stand.bough("services", "show", "worker", cwd=HERE / "project")
    return sum(each["state"] not in ("exited", "asleep") for each in found["replicas"])


def fill(stand: Stand, count: int) -> None:
    """Straight into the store, of the least priority: so they wait all the time that others are put and handled."""
    queues = SqliteQueues(stand.home / "queues.db")
    body = b'{"put_at": 0, "text": "' + b"x" * BYTES + b'"}'
    place = ("queue-bench", "main", "lines")
    for start in range(0, count, 1000):
        drafts = [Draft(place=place, body=body, rank=9)] * min(1000, count - start)
        queues.round(Round(drafts=drafts, now=time.time()))
    queues.close()


def post(stand: Stand, count: int) -> None:
    for _ in range(count):
        connection = http.client.HTTPConnection("127.0.0.1", stand.gateway)
        connection.request("POST", "/queues/lines", b'{"put_at": 0, "text": "x"}')
        connection.getresponse().read()


def handled() -> int:
    return OUT.read_bytes().count(b"\n")


def wait_for(out: Path, count: int, timeout_s: float = 240.0) -> list[tuple[float, float]]:
    deadline = time.monotonic() + timeout_s
    while not out.exists() or out.read_bytes().count(b"\n") < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"{out}: not all of {count} were handled")
        time.sleep(0.02)
    return [(float(a), float(b)) for a, b in (line.split() for line in out.read_text().splitlines())]


def shown(name: str, found: list[tuple[float, float]]) -> None:
    put, done = (statistics.median(each) for each in zip(*found, strict=True))
    print(f"{name}: {put:.0f} put and {done:.0f} handled a second", flush=True)


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main())
