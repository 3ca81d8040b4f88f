"""kill -9 in the middle of everything. BOUGH_KILLS=200 runs many rounds."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.queues.killing import Stage

KILLS = int(os.environ.get("BOUGH_KILLS", "6"))
AT_ONCE = 40  # items


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


@pytest.mark.timeout(600 + 10 * KILLS)
def test_nothing_is_lost_and_nothing_is_done_twice_whoever_is_killed(stage: Stage) -> None:
    """Seeded kills of the gateway, which has the consumers, of the handler's replica, in mid-batch, and of the server,
    which tells a webhook of each end and another queue of each result."""
    dice, numbers = random.Random(7), [-1]
    ids = stage.put(numbers)
    for round in range(KILLS):
        batch = list(range(round * AT_ONCE, (round + 1) * AT_ONCE))
        ids += stage.put(batch)
        numbers += batch
        time.sleep(dice.choice((0.0, 0.002, 0.005, 0.01, 0.03)))
        stage.kill(dice.choice(("gateway", "replica", "server")))
        if dice.random() < 0.5:
            assert stage.put(batch) == ids[-AT_ONCE:], "put again, it is the same items"
    ends = [stage.ask("GET", f"/queues/numbers/{id}?wait=20") for id in ids]
    assert [each["state"] for each in ends] == ["done"] * len(ids)
    assert [each["result"] for each in ends] == [2 * number for number in numbers]
    assert stage.effects() == numbers
    forwarded = stage.forwarded()
    assert sorted(int(each.body) for each in forwarded) == [2 * number for number in numbers]
    assert {each.dedup for each in forwarded} == {f"shop/main/numbers/{id}" for id in ids}
    assert set(stage.hook.told) == set(ids), "a webhook may be told twice, under the same id"
