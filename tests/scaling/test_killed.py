"""The server is killed between a decision and its effect: the next one goes on from what was written down.
BOUGH_KILLS=200 kills it so often."""

from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec

from bough.adapters.engine import Attempt, Engine
from bough.kernel.scale import USUAL
from bough.runtime.spec import UnitSpec
from bough.scaling import store
from bough.scaling.models import Learnt, Place
from bough.scaling.scaled import WARM_UP_S
from tests.depth import times
from tests.plane import Plane
from tests.scaling.test_loop import FILE, Traffic, route, service, shown

KILLS = times("BOUGH_KILLS", quick=4, deep=8)
SEED = int(os.environ.get("BOUGH_SEED", "1"))
RATES = (0, 2, 6, 14, 30)  # requests a second


class Killed(BaseException):
    """Stands in for the death of the process: nobody catches it, and leases stay behind."""


class Fatal:
    """An engine at whose calls the server dies: before they have an effect, or after it."""

    def __init__(self, engine: Engine, dice: random.Random, armed: bool) -> None:
        self._engine, self._dice, self._armed = engine, dice, armed

    def apply(self, spec: UnitSpec) -> Attempt:
        self._die()
        made = self._engine.apply(spec)
        self._die()
        return made

    def stop(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        self._die()
        self._engine.stop(unit, attempt, grace_s)
        self._die()

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def _die(self) -> None:
        if self._armed and self._dice.random() < 0.3:
            raise Killed


def born(folder: Path, dice: random.Random, armed: bool, after: Plane | None) -> Plane:
    def through(engine: Engine) -> Engine:
        fatal: object = Fatal(engine, dice, armed)
        return fatal  # type: ignore[return-value]  # what it does not say itself is the engine's

    return Plane(folder, through=through, after=after)


def test_what_was_decided_comes_about_however_often_the_server_is_killed(tmp_path: Path) -> None:
    dice, killed = random.Random(SEED), 0
    plane = born(tmp_path, dice, False, None)
    plane.deploy(FILE.format("max = 12, warm = 0"))
    traffic = Traffic(plane)
    traffic.seconds(5, 2)
    traffic.plane = plane = born(tmp_path, dice, True, plane)
    for _ in range(20 * KILLS):
        if killed == KILLS:
            break
        try:
            traffic.seconds(4, dice.choice(RATES))
            plane.clock.advance(WARM_UP_S)
        except Killed:
            killed += 1
            traffic.plane = plane = born(tmp_path, dice, True, plane)
    traffic.plane = plane = born(tmp_path, dice, False, plane)
    plane.clock.advance(WARM_UP_S)
    traffic.seconds(90, 6)
    found, running = shown(plane), plane.running()
    assert found.active == found.decisions[-1].active == service(plane).wanted > 3
    assert len(running) == len(set(running)) == found.active
    assert {each.unit for each in route(plane).targets} == set(running)
    assert traffic.plane is plane and killed == KILLS


def learnt(plane: Plane, place: Place) -> Learnt:
    with plane.bough.database.read() as tx:
        return store.learnt(tx, place)


def test_what_a_late_request_weighs_is_not_learnt_anew_by_the_next_server(tmp_path: Path) -> None:
    """Killed, not stopped: nothing is written at the end."""
    dice, place = random.Random(SEED), ("shop", "main", "churn")
    plane = born(tmp_path, dice, False, None)
    plane.deploy(FILE.format("max = 12, warm = 0"))
    traffic = Traffic(plane)
    traffic.seconds(150, 6)
    kept = learnt(plane, place)
    assert 60 <= kept.seconds <= 150 and kept.asked > 300
    with plane.bough.database.write() as tx:
        store.keep_learnt(tx, place, msgspec.structs.replace(kept, weight=3.0, seconds=9000))
    traffic.plane = plane = born(tmp_path, dice, False, plane)
    traffic.seconds(130, 6)
    traffic.seconds(5, 40)
    assert learnt(plane, place).seconds >= 9060
    assert shown(plane).decisions[-1].late_cost > 2 * USUAL
