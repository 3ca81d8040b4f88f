"""The serving benchmark: Bough beside its peers, one command.

    python bench/serving/run.py                                  everything: well over an hour on two cores
    python bench/serving/run.py --peers bough,fastapi --workloads noop --connections 64 --seconds 2

Rounds go over all peers before the next round begins, so that a machine that drifts does so for all alike.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import environments
import load
import processes
import report
import workloads
from errors import CannotRun
from limits import BATCHES
from peers import ONE_THREAD, Peer, Setup, environment
from roster import PEERS

HERE = Path(__file__).parent
ENVS = HERE / ".envs"
COLD_STARTS = 7
REST_S = 3  # before memory is read: what stays once the rush is over, for every peer alike
WARM_S = 2  # at 64 connections after each start: Java compiles, pools fill, batches adapt


class Run:
    def __init__(self, options: argparse.Namespace, out: TextIO) -> None:
        self.options = options
        self.out = out
        self.lines: list[dict[str, Any]] = []
        self.data = ENVS / "data"
        self.reasons: dict[str, str] = {}  # why a peer has no figures

    def emit(self, kind: str, **values: Any) -> None:
        line = {"kind": kind, **values}
        self.lines.append(line)
        text = json.dumps(line)
        self.out.write(text + "\n")
        self.out.flush()
        print(text, flush=True)

    def prepare(self) -> list[Peer]:
        """Environments, models and requests; the peers that can run."""
        load.find_wrk()
        able: list[Peer] = []
        environments.ensure("tools", ENVS)
        self._prepare_models()
        for name in self.options.peers:
            peer = PEERS[name]
            try:
                if reason := peer.missing():
                    raise CannotRun(reason)
                if peer.env:
                    environments.ensure(peer.env, ENVS)
                able.append(peer)
            except CannotRun as error:
                self.skip(peer, str(error))
        return able

    def skip(self, peer: Peer, reason: str, workload: str = "") -> None:
        self.emit("not_run", peer=peer.name, workload=workload, reason=reason)
        if not workload:
            self.reasons[peer.name] = reason

    def limits(self, workloads: Sequence[str], *parts: str) -> None:
        """All of it once, and throughput again in each round: a machine that drifts does so for the limit as well."""
        if not self.options.extras or not (bounded := [name for name in workloads if name in BATCHES]):
            return
        output = self._tool(
            "limits.py", str(self.options.seconds), str(self.options.workers), ",".join(bounded), *parts
        )
        self.emit("limits", **json.loads(output.splitlines()[-1]))

    def choose_batching(self, able: list[Peer]) -> dict[tuple[str, str, int], bool]:
        """For each peer with batching: on or off, whichever answers more, at each number of connections."""
        chosen: dict[tuple[str, str, int], bool] = {}
        for peer in able:
            for workload in self.options.workloads:
                if workload not in peer.batches or self.options.batching in ("on", "off"):
                    continue
                rates: dict[tuple[int, bool], float] = {}
                for batching in (False, True):
                    for connections, result in self._guarded(peer, workload, batching, "pilot", 0, self.connections()):
                        rates[connections, batching] = result["rps"] if not result["failed"] else 0.0
                for connections in self.connections():
                    on, off = rates.get((connections, True), 0.0), rates.get((connections, False), 0.0)
                    chosen[peer.name, workload, connections] = on > off
        return chosen

    def rounds(self, able: list[Peer], chosen: dict[tuple[str, str, int], bool]) -> None:
        for number in range(self.options.repeat):
            for workload in self.options.workloads:
                self.limits([workload], "throughput")
                for peer in able[number % len(able) :] + able[: number % len(able)]:  # nobody is always first
                    if workload not in peer.workloads:
                        continue
                    for batching in (False, True):
                        connections = [
                            count for count in self.connections()
                            if self._batching(peer, workload, count, chosen) == batching
                        ]  # fmt: skip
                        if connections:
                            list(self._guarded(peer, workload, batching, "run", number, connections))

    def replica_memory(self, able: list[Peer]) -> None:
        """Memory that one more replica adds (proportional set size, of all the peer's processes), 1 against 3."""
        for peer in able:
            for workload in ("noop", "minilm"):
                if workload not in self.options.workloads or workload not in peer.workloads:
                    continue
                weights = []
                for workers in (1, 3):
                    try:
                        with self._started(peer, workload, peer.kind == "bough", workers) as (setup, tree, _):
                            self._load(peer, setup, 64, 1)
                            time.sleep(REST_S)
                            weights.append(tree.memory().pss_mb)
                    except CannotRun as error:
                        self.skip(peer, f"with {workers} replicas: {error}", workload)
                if len(weights) == 2:
                    added = (weights[1] - weights[0]) / 2
                    self.emit("replica_memory", peer=peer.name, workload=workload, pss_mb=round(added, 2))

    def wakes(self, able: list[Peer]) -> None:
        """Peers that scale to zero: from no replica, or no process, to the answer of the request that woke it."""
        for peer in able:
            for workload in self.options.workloads:
                if peer.wake is None or peer.cold is None or workload not in ("noop", "minilm"):
                    continue
                try:
                    with self._started(peer, workload, True, 1, peer.services_to_wake) as (setup, tree, _):
                        body = workloads.bodies(peer, setup)[0]
                        for kind, timing, count in (
                            ("wake", peer.wake, self.options.wakes), ("cold", peer.cold, COLD_STARTS)
                        ):  # fmt: skip
                            times = sorted(timing(setup, tree, body, count))
                            p50, p99 = statistics.median(times), times[max(0, round(len(times) * 0.99) - 1)]
                            self.emit(kind, peer=peer.name, workload=workload, count=len(times), p50_ms=round(p50, 2),
                                      p99_ms=round(p99, 2), max_ms=round(times[-1], 2))  # fmt: skip
                except CannotRun as error:
                    self.skip(peer, f"wake: {error}", workload)

    def connections(self) -> list[int]:
        return sorted(self.options.connections)

    def _batching(self, peer: Peer, workload: str, connections: int, chosen: dict[tuple[str, str, int], bool]) -> bool:
        if workload not in peer.batches:
            return peer.kind == "bough"
        if self.options.batching in ("on", "off"):
            return bool(self.options.batching == "on")
        return chosen.get((peer.name, workload, connections), False)

    def _guarded(
        self, peer: Peer, workload: str, batching: bool, phase: str, number: int, connections: list[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """`_measure`, where a peer that fails becomes a line of its own instead of the end of the run."""
        if peer.name in self.reasons:
            return
        try:
            yield from self._measure(peer, workload, batching, phase, number, connections)
        except CannotRun as error:
            self.skip(peer, f"{'batching' if batching else 'plain'}: {error}", workload)

    def _measure(
        self, peer: Peer, workload: str, batching: bool, phase: str, number: int, connections: list[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        own = {"peer": peer.name, "workload": workload, "batching": batching, "phase": phase, "round": number}
        seconds = self.options.seconds if phase == "run" else min(2, self.options.seconds)
        with self._started(peer, workload, batching, self.options.workers) as (setup, tree, fresh_s):
            idle = tree.memory()
            self.emit("start", **own, first_answer_ms=round(fresh_s * 1e3, 1), pss_mb=round(idle.pss_mb, 1),
                      rss_mb=round(idle.rss_mb, 1))  # fmt: skip
            if number == 0:
                workloads.verify(peer, setup)
            self._load(peer, setup, 64, WARM_S)
            for count in connections:
                before = tree.cpu_s()
                result = self._load(peer, setup, count, seconds)
                used = processes.cpu_between(before, tree.cpu_s())
                memory = tree.memory()
                answered = result["requests"] - result["errors"]["status"]
                failed = sum(result["errors"].values())
                line = {
                    **own,
                    "connections": count,
                    "rps": round(answered / result["duration_s"], 1),
                    "failed": failed,
                    "cpu_us": round(used / max(1, answered) * 1e6, 1),
                    "pss_mb": round(memory.pss_mb, 1),
                    "rss_mb": round(memory.rss_mb, 1),
                    **{key: result[key] for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms", "errors")},
                }
                self.emit("load", **line)
                yield count, line
            if workload == "stream" and phase == "run":
                for count in (1, 64):
                    self._first_token(peer, setup, count, own)

    def _first_token(self, peer: Peer, setup: Setup, connections: int, own: dict[str, Any]) -> None:
        """The first token as one client sees it, alone or while wrk keeps the other connections streaming."""
        path, prepared = peer.path(setup), workloads.bodies(peer, setup)
        others = None
        if connections > 1:
            others = load.start_wrk(self._url(peer, setup), self._bodies(setup), peer.key(setup), connections - 1, 3)
            time.sleep(0.5)
        times = sorted(load.first_tokens(setup.port, path, prepared, peer.key(setup), 2.0))
        if others:
            load.finish_wrk(others)
        p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
        self.emit("first_token", **own, connections=connections, count=len(times), p50_ms=round(p50, 3),
                  p99_ms=round(p99, 3))  # fmt: skip

    @contextmanager
    def _started(
        self, peer: Peer, workload: str, batching: bool, workers: int, services: int = 1
    ) -> Iterator[tuple[Setup, processes.Tree, float]]:
        # A short path: Unix sockets of several peers live below it.
        folder = Path(tempfile.mkdtemp(prefix="bb", dir="/tmp"))
        setup = Setup(workload=workload, port=_free_ports(), batching=batching, workers=workers, folder=folder,
                      data=self.data, envs=ENVS, services=services)  # fmt: skip
        tree = None
        try:
            launch = peer.launch(setup)
            tree = processes.Tree(launch.argv, environment(setup, launch.environment), folder, launch.home)
            prepared = [b"-"] if peer.is_static else workloads.bodies(peer, setup)
            Path(self._bodies(setup)).write_bytes(b"\n".join(prepared) + b"\n")
            alive = tree.root
            answered = load.wait_first_answer(
                setup.port, peer.path(setup), prepared[0], lambda: peer.key(setup), lambda: alive.poll() is None,
                peer.start_limit_s,
            )  # fmt: skip
            yield setup, tree, answered - tree.started
        except CannotRun as error:
            said = tree.tail(6) if tree else ""
            raise CannotRun(f"{error}" + (f"; it said: {said[-500:]}" if said.strip() else "")) from error
        finally:
            if tree:
                tree.stop()
            shutil.rmtree(folder, ignore_errors=True)

    def _load(self, peer: Peer, setup: Setup, connections: int, seconds: int) -> dict[str, Any]:
        url, bodies = self._url(peer, setup), self._bodies(setup)
        process = load.start_wrk(url, bodies, peer.key(setup), connections, seconds)
        return load.finish_wrk(process)

    def _url(self, peer: Peer, setup: Setup) -> str:
        return f"http://127.0.0.1:{setup.port}{peer.path(setup)}"

    def _bodies(self, setup: Setup) -> str:
        return str(setup.folder / "bodies.jsonl")

    def _prepare_models(self) -> None:
        """Trains, exports and writes the requests again only when the code that does so has changed."""
        code = b"".join((HERE / name).read_bytes() for name in ("prepare.py", "models.py", "minilm.py"))
        stamp, digest = self.data / "code.sha256", hashlib.sha256(code).hexdigest()
        if not stamp.exists() or stamp.read_text() != digest:
            (self.data / "minilm" / "model.onnx").unlink(missing_ok=True)
            print(self._tool("prepare.py", str(self.data)), file=sys.stderr)
            stamp.write_text(digest)

    def _tool(self, script: str, *arguments: str) -> str:
        python = ENVS / "tools" / "bin" / "python"
        own = {"PYTHONPATH": str(HERE), "BENCH_DATA": str(self.data), **ONE_THREAD}
        caller = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        argv = [str(python), str(HERE / script), *arguments]
        done = subprocess.run(argv, env={**caller, **own}, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise CannotRun(f"{script} failed; its output is above")
        return done.stdout


def main() -> int:
    options = _options()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would slow down every start, the peers' and ours
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every `finally`: no peer is left behind
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with options.json.open("w") as out:
        run = Run(options, out)
        try:
            run.emit("machine", cores=os.cpu_count(), cpu=_cpu_name(), kernel=platform.release(),
                     started=time.strftime("%Y-%m-%dT%H:%M:%S%z"), seconds=options.seconds, repeat=options.repeat,
                     workers=options.workers, load_average=os.getloadavg()[0])  # fmt: skip
            able = run.prepare()
            run.limits(options.workloads)
            chosen = run.choose_batching(able)
            run.rounds(able, chosen)
            if options.extras:
                run.replica_memory(able)
                run.wakes(able)
        except CannotRun as error:
            print(f"cannot run: {error}", file=sys.stderr)
            return 1
    text = report.render(run.lines)
    print(text)
    options.json.with_suffix(".txt").write_text(text)
    picture = options.json.with_suffix(".svg")
    run._tool("plot.py", str(options.json), str(picture))
    print(f"lines: {options.json}  table: {options.json.with_suffix('.txt')}  picture: {picture}")
    return 0


def _options() -> argparse.Namespace:
    def names(known: Any, what: str) -> Any:
        def parse(text: str) -> list[str]:
            chosen = [part for part in text.split(",") if part]
            if wrong := [part for part in chosen if part not in known]:
                raise argparse.ArgumentTypeError(f"no {what} {', '.join(wrong)}; there are: {', '.join(known)}")
            return chosen

        return parse

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=names(PEERS, "peer"), default=list(PEERS), help=",".join(PEERS))
    parser.add_argument("--workloads", type=names(workloads.WORKLOADS, "workload"), default=list(workloads.WORKLOADS),
                        help=",".join(workloads.WORKLOADS))  # fmt: skip
    parser.add_argument("--connections", type=lambda text: [int(part) for part in text.split(",")],
                        default=[1, 8, 64, 256])  # fmt: skip
    parser.add_argument("--seconds", type=int, default=3, help="of each counted load (default 3)")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; the table has their medians (default 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes of each peer that run the model (default 2)")
    parser.add_argument("--batching", choices=("best", "on", "off"), default="best",
                        help="best: a short pilot decides for each peer, workload and connections")  # fmt: skip
    parser.add_argument("--wakes", type=int, default=100, help="wakes from zero to time (default 100)")
    parser.add_argument("--no-extras", dest="extras", action="store_false",
                        help="leave out in-process limits, memory per replica and wakes")  # fmt: skip
    default = HERE / "results" / time.strftime("%Y%m%d-%H%M%S.jsonl")
    parser.add_argument("--json", type=lambda text: Path(text).absolute(), default=default, metavar="FILE")
    return parser.parse_args()


def _free_ports(count: int = 6) -> int:
    """The first of `count` ports in a row that nobody listens on: some peers open neighbours. Below those that the
    kernel gives to clients, who would take one meanwhile."""
    for _ in range(200):
        base = random.randrange(20_000, 30_000)
        if all(_is_free(base + step) for step in range(count)):
            return base
    raise CannotRun(f"found no {count} free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
