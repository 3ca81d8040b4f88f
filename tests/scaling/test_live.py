"""The real gateway and the live controller, five times as fast, draw the curve that the simulator says."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from bough.gateway.models import GatewayState, LaneState, Target
from bough.gateway.server import Options
from bough.kernel.scale import Scale
from bough.runtime.frames import Reply, Request
from bough.scaling.models import Costs
from bough.scaling.policy import Autoscaler
from bough.scaling.simulating import Arrival, Terms, Trace, simulate
from bough.scaling.watching import USUAL_START_S
from tests.gateway.conftest import Replica, Running, folder, route
from tests.plane import Plane

__all__ = ["folder"]
FASTER = 5.0
SERVICE_S = 0.5
RATES = [4] * 25 + [20] * 20 + [6] * 25  # requests in each second
FILE = 'name = "shop"\n[services.churn]\nmodel = "service:Churn"\nscale = { max = 20, warm = 0 }\n'


def work(request: Request) -> list[Reply]:
    time.sleep(SERVICE_S / FASTER)
    return [Reply(request.id, 200, request.body)]


class Fast:
    """A control plane on its virtual clock, and a gateway that lives that much faster; between them the files and
    counters that are between them in earnest."""

    def __init__(self, home: Path, plane: Plane) -> None:
        (home / "gateway").mkdir()
        self.folder, self.plane, self.replicas = home, plane, dict[str, Replica]()
        self.gateway = Running(home / "gateway", Options(grace_s=2.0))
        self.shown: list[Target] = []

    def follow_the_table(self) -> None:
        found = [self._target(each) for each in self.plane.routes()[0].targets]
        if found != self.shown:
            self.shown = found
            deployment = self.plane.routes()[0].deployment
            self.gateway.apply([route("churn", targets=found, deployment=deployment)])

    def tell(self) -> None:
        """What the gateway has counted, in the control plane's seconds."""
        state = msgspec.convert(self.gateway.control("GET", "/state"), GatewayState)
        self.plane.lanes = [self._slower(each) for each in state.lanes]

    def close(self) -> None:
        self.gateway.stop()
        for each in self.replicas.values():
            each.kill()

    def _target(self, target: Target) -> Target:
        if target.unit not in self.replicas:
            self.replicas[target.unit] = Replica(self.folder, target.unit, work, mode="item")
        return msgspec.structs.replace(self.replicas[target.unit].target(), warm=target.warm)

    def _slower(self, lane: LaneState) -> LaneState:
        times = {name: getattr(lane, name) * FASTER for name in ("busy_s", "oldest_s", "idle_s")}
        return msgspec.structs.replace(lane, **times)


@contextmanager
def live(home: Path, state: Path) -> Iterator[Fast]:
    home.mkdir()
    state.mkdir()
    plane = Plane(state)
    plane.deploy(FILE)
    made = Fast(home, plane)
    made.gateway.start(routes=[])
    made.follow_the_table()
    try:
        yield made
    finally:
        made.close()


class Spent(NamedTuple):
    """What replicas have done so far."""

    answered: int = 0
    busy_s: float = 0.0

    @classmethod
    def of(cls, lanes: list[LaneState]) -> Spent:
        return cls(sum(each.answered for each in lanes), sum(each.busy_s for each in lanes))

    def mean_since(self, before: Spent) -> float:
        answered = self.answered - before.answered
        return (self.busy_s - before.busy_s) / answered if answered > 0 else SERVICE_S


def arrivals() -> list[float]:
    return [second + (number + 0.5) / rate for second, rate in enumerate(RATES) for number in range(rate)]


def drive(fast: Fast, post: Callable[[], int]) -> tuple[list[int], Trace, list[int]]:
    """Sends the traffic. The replicas that answer after each second; what came then and how long it took, as a busy
    machine had it; and the statuses of the answers."""
    curve, sent, came, began = list[int](), [], list[list[float]](), time.monotonic()
    spent = [Spent()]
    with ThreadPoolExecutor(64) as pool:
        pending = iter([*arrivals(), float("inf")])
        at = next(pending)
        for second in range(len(RATES)):
            came.append([])
            while at < second + 1:
                time.sleep(max(0.0, began + at / FASTER - time.monotonic()))
                came[-1].append(at)
                sent.append(pool.submit(post))
                at = next(pending)
            time.sleep(max(0.0, began + (second + 1) / FASTER - time.monotonic()))
            fast.tell()
            spent.append(Spent.of(fast.plane.lanes))
            fast.plane.let_pass(0.1)
            fast.plane.clock.advance(0.9)
            fast.follow_the_table()
            curve.append(len(fast.shown))
        statuses = [each.result() for each in sent]
    times = [after.mean_since(before) for before, after in pairwise(spent)]
    happened = [Arrival(at, taken) for each, taken in zip(came, times, strict=True) for at in each]
    return curve, Trace(name="same", seconds=len(RATES), arrivals=happened), statuses


def test_the_live_curve_is_the_simulated_one_and_no_request_fails(folder: Path, tmp_path: Path) -> None:
    costs = Costs(start_s=USUAL_START_S)
    tried = list[tuple[list[int], list[int]]]()
    for attempt in "123":  # a machine that is busy delays what nothing can account for: one undisturbed run is meant
        with live(folder / attempt, tmp_path / attempt) as fast:
            curve, trace, statuses = drive(fast, lambda: fast.gateway.post("churn", 1)[0])
        assert set(statuses) == {200}
        run = simulate(trace, Autoscaler(Scale(max=20, warm=0), costs), Terms(start_s=costs.start_s))
        said = [each[0] + each[1] for each in run.curve]
        tried.append((said, curve))
        apart = statistics.mean(abs(one - other) for one, other in zip(curve, said, strict=True))
        if apart < 0.15 * max(said) and max(curve) > 8 and abs(max(curve) - max(said)) <= 4 and curve[-1] < max(curve):
            return
    pytest.fail(f"simulated and live, three times: {tried}")
