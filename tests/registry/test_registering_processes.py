"""Versions that are registered by many processes at once, any of which may be killed at any moment."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

from tests.depth import times
from tests.plane import Plane
from tests.programs import OURS

SEED, ROUNDS = 20260503, times("BOUGH_KILLS", quick=4, deep=8)


@pytest.mark.timeout(600 + 10 * ROUNDS)
def test_a_kill_at_any_moment_leaves_whole_signed_versions_and_one_champion(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.call("projects.create", name="shop")
    plane.call("signers.create", project="shop", name="ci")
    home, chance = plane.bough.home.path, random.Random(SEED)
    program = Path(__file__).with_name("registering_process.py").read_text("utf-8")
    said: list[int] = []
    for number in range(ROUNDS):
        running = [OURS.start(program, home, f"p{number}") for _ in range(2)]
        for each in running:
            said.append(int(each.stdout.readline()))  # it is at work
        time.sleep(chance.random() * 0.15)
        for each in running:
            each.kill()
            for line in each.wait()[1].splitlines():
                with contextlib.suppress(ValueError):  # cut in the middle
                    said.append(int(line))
    place = {"project": "shop", "environment": "main"}
    found = plane.call("models.versions", **place, name="churn", limit=1000)
    numbers = [each.number for each in found]
    assert len(said) == len(set(said)) >= 2 * ROUNDS
    assert set(said) <= set(numbers)
    assert numbers == list(range(len(numbers), 0, -1))  # no number was lost or given twice
    for each in found:
        assert plane.call("models.verify", **place, model=each.reference).signer == "ci"
    assert plane.call("models.resolve", **place, model="churn@champion").number == numbers[0]
