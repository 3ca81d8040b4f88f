"""kill -9 in every step of a promotion: one champion, with its evidence, and it always goes on.

`BOUGH_KILLS=20` kills each step twenty times; the default keeps the suite short.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from bough.kernel.reconcile import LEASE_S
from tests.dying import Doom, in_a_process
from tests.plane import Plane

from .conftest import BOB, Shop

KILLS = int(os.environ.get("BOUGH_KILLS", "1"))
POLICY = """
[models.churn.gates.metrics.auc]
min = 0.8
[models.churn.promotion]
steps = [5, 25, 100]
watch_s = 2
shadow_s = 2
min_requests = 1
approvals = 1
"""
# What has happened last when the process dies. Of the last one, also the middle of the transaction that ends it all.
STAGES = ("started", "gated", "approved", "verified", "copies", "5", "25", "100", "done")
PATIENCE = 40  # rounds of a second


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with version 1 in production and version 2 as the candidate."""
    folder = tmp_path_factory.mktemp("ready")
    plane = Plane(folder)
    plane.lanes = []
    shop = Shop(plane)
    shop.first(POLICY)
    shop.register("two", metrics={"auc": 0.95})
    plane.bough.stop()
    return folder


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", range(KILLS))
def test_a_promotion_killed_anywhere_goes_on_and_there_is_one_champion(
    ready: Path, tmp_path: Path, stage: str, number: int
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(ready, folder)
    first = 1 if stage == "started" else 0  # before its first commit there is no promotion
    commits = random.Random(f"{stage} {number}").randrange(first, 2 if stage == "done" else 6)
    killed = in_a_process(lambda: run_and_die(folder, stage, commits))
    assert killed == signal.SIGKILL, "it must have died where it was told to"

    plane = Plane(folder)  # another process, later
    plane.lanes = []
    plane.clock.advance(3600 + LEASE_S)
    shop = Shop(plane)
    check(shop)
    (promotion,) = plane.call("promotions.list", project="shop")
    drive(shop, promotion)
    found = shop.show(promotion)
    assert found.state == "done", found
    check(shop)
    assert shop.champion() == 2 and shop.pinned() == 2
    plane.let_pass(2)
    assert shop.route().variants == []
    assert len(shop.ledger("promotion.done")) == 1
    assert [each.evidence["percent"] for each in shop.ledger("promotion.step")] == [0, 5, 25, 100]
    plane.call("audit.verify")
    plane.bough.stop()


def check(shop: Shop) -> None:
    """What must be true at any moment."""
    champion, (promotion,) = shop.champion(), shop.plane.call("promotions.list", project="shop")
    assert champion in (1, 2)
    assert shop.pinned() == champion, "the release and the alias name the same version"
    live = [each for each in shop.plane.call("releases.list", project="shop") if each.state == "live"]
    assert len(live) == 1
    assert (promotion.state == "done") == (champion == 2) == (len(shop.ledger("promotion.done")) == 1)
    if champion == 2:
        run = shop.plane.call("gates.show", id=promotion.gate_run)
        assert run.state == "passed"
        assert all(shop.plane.bough.blobs.has(each.evidence) for each in run.results)
        approvals = shop.plane.call("promotions.show", id=promotion.id).approvals
        assert [each.by for each in approvals] == ["bob"]


def drive(shop: Shop, promotion: Any) -> None:
    for _ in range(PATIENCE):
        shop.plane.let_pass(1)
        now = shop.show(promotion)
        if now.state in ("done", "aborted"):
            return
        if now.state == "waiting":
            shop.plane.call("promotions.approve", by=BOB, id=promotion.id)
        for deployment in now.deployments.values():
            shop.answered(deployment, 5)


def run_and_die(folder: Path, stage: str, commits: int) -> None:
    """Dies before the `commits`th commit after `stage` was reached."""
    plane = Plane(folder)
    plane.lanes = []
    plane.clock.advance(60)
    doom = Doom(commits)

    def reached(now: str) -> None:
        if now == stage:
            doom.begin()

    for name in ("started", "gated", "approved", "verified", "done"):
        plane.bough.events.on(f"promotion.{name}", lambda tx, event, name=name: reached(name))
    plane.bough.events.on(
        "promotion.step", lambda tx, event: reached("copies" if event.data["copies"] else f"{event.data['percent']:g}")
    )
    shop = Shop(plane)
    drive(shop, shop.promote())
