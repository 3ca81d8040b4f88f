"""How long zygotes live."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bough.adapters.engine.local import LocalEngine
from bough.runtime.spec import Started
from tests.adapters import engine_rigs as rigs


@pytest.fixture
def rig() -> Iterator[rigs.LocalRig]:
    with rigs.rig("local") as under_test:
        assert isinstance(under_test, rigs.LocalRig)
        yield under_test


def test_an_idle_zygote_is_stopped_and_a_used_one_is_not(rig: rigs.LocalRig) -> None:
    rig.engine.apply(rig.model("used", "plain"))
    rig.engine.apply(rig.model("idle", "slow"))
    rig.until("used", "ready"), rig.until("idle", "ready")
    rig.engine.stop("idle", 1)
    rig.exited("idle")
    both = rig.inner.zygotes()
    assert rig.inner.sweep() == []  # ten minutes have not passed
    rig.inner.close()
    rig.inner = rig.engine = LocalEngine(rig.home, zygote_idle_s=0.0, inherited=rigs.clean_environment())
    assert rig.inner.zygotes() == both  # found again
    (swept,) = rig.inner.sweep()
    assert rigs.gone(both[swept])
    (kept,) = both.keys() - {swept}
    assert rigs.alive(both[kept])
    assert rig.look("used").state == "ready"


def test_a_woken_replica_comes_from_the_zygote_that_survived_the_engine(rig: rigs.LocalRig) -> None:
    rig.engine.apply(rig.model("r", "plain"))
    rig.until("r", "ready")
    before = rig.inner.zygotes()
    rig.restart()
    rigs.kill(rig.look("r"))
    rig.exited("r")
    rig.engine.wake("r")
    rig.until("r", "ready")
    assert rig.inner.zygotes() == before


def test_two_models_and_two_environments_make_3_zygotes(rig: rigs.LocalRig) -> None:
    rig.engine.apply(rig.model("a", "plain"))
    rig.engine.apply(rig.model("b", "plain"))
    rig.engine.apply(rig.model("c", "slow"))
    rig.engine.apply(rig.model("d", "plain", environment={"MODE": "other"}))
    for unit in "abcd":
        rig.until(unit, "ready")
    assert len(rig.inner.zygotes()) == 3


def test_environments_share_a_zygote_and_each_replica_sees_its_own_labels(rig: rigs.LocalRig) -> None:
    for unit, environment in (("a", "main"), ("b", "try-it")):
        labels = {"project": "shop", "environment": environment, "service": "churn", "deployment": unit}
        rig.engine.register(rig.model(unit, "labels", labels=labels, grace_s=7.0 if unit == "b" else 3.0))
        rig.engine.wake(unit)
        said = rig.until_output(unit, b"serving")
        assert f"BOUGH_ENVIRONMENT={environment}\n".encode() in said
        assert f"BOUGH_DEPLOYMENT={unit}\n".encode() in said
    (zygote,) = rig.inner.zygotes().values()
    seen = Path(f"/proc/{zygote}/environ").read_bytes()
    assert b"BOUGH_ENVIRONMENT" not in seen and b"BOUGH_SERVICE" not in seen


def test_only_the_zygote_asks_its_c_library_for_huge_pages_and_a_projects_own_wish_counts_more(
    rig: rigs.LocalRig,
) -> None:
    rig.engine.apply(rig.model("a", "plain"))
    rig.engine.apply(rig.model("b", "plain", environment={"GLIBC_TUNABLES": "glibc.malloc.check=0"}))
    assert b"GLIBC_TUNABLES" not in rig.until_output("a", b"serving")
    assert b"GLIBC_TUNABLES" in rig.until_output("b", b"serving")
    seen = [Path(f"/proc/{pid}/environ").read_bytes() for pid in rig.inner.zygotes().values()]
    assert sum(b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in each for each in seen) == 1
    assert sum(b"GLIBC_TUNABLES=glibc.malloc.check=0" in each for each in seen) == 1


def test_a_zygote_that_only_sleeping_units_would_use_ends_when_idle_and_the_next_wake_has_another(
    rig: rigs.LocalRig,
) -> None:
    rig.engine.apply(rig.model("a", "plain"))
    rig.until("a", "ready")
    rig.engine.sleep("a", 1)
    rig.until("a", "asleep")
    before = rig.inner.zygotes()
    rig.inner.close()
    rig.inner = rig.engine = LocalEngine(
        rig.home, zygote_idle_s=0.0, loader="engine_loader_module", inherited=rigs.clean_environment()
    )
    assert rig.inner.sweep() == list(before)
    assert rig.look("a").state == "asleep"
    rig.engine.wake("a")
    rig.until("a", "ready")
    assert set(rig.inner.zygotes().values()).isdisjoint(before.values())


def test_a_zygote_that_hangs_is_replaced_and_the_attempt_still_starts(rig: rigs.LocalRig) -> None:
    rig.engine.apply(rig.model("a", "plain"))
    rig.until("a", "ready")
    ((key, pid),) = rig.inner.zygotes().items()
    (rig.home / "zygotes" / key / "control.sock").unlink()  # it answers nobody any more
    rig.engine.apply(rig.model("b", "plain"))
    rig.until("b", "ready")
    assert rig.inner.zygotes()[key] != pid
    assert rig.look("a").state == "ready"


def test_remains_of_a_crash_are_removed_at_start(rig: rigs.LocalRig) -> None:
    rig.inner.close()
    for name in ("units/.trash-x-1", "units/cut/1", "zygotes/dead"):
        (rig.home / name).mkdir(parents=True)
    somebody_else = Started(shim_pid=os.getpid(), shim_starttime=1, pid=0, starttime=0, at=time.time())
    Path(rig.home / "zygotes/dead/pid.json").write_bytes(msgspec.json.encode(somebody_else))
    rig.start()
    assert rig.engine.snapshot() == []
    assert [path.name for path in (rig.home / "zygotes").iterdir()] == []
    assert [path.name for path in (rig.home / "units").iterdir()] == []


def test_drain_ends_every_zygote(rig: rigs.LocalRig) -> None:
    rig.engine.apply(rig.model("a", "plain"))
    rig.until("a", "ready")
    pids = list(rig.inner.zygotes().values())
    rig.engine.drain("local", 1.0, "going")
    assert rig.exited("a").code == -signal.SIGTERM
    assert all(rigs.gone(pid) for pid in pids)
