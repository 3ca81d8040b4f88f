"""The local engine on a machine whose clock is set: what a unit has had is what has passed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bough.adapters.engine import Attempt
from bough.adapters.engine.local_records import Record
from bough.kernel.processes import boot, starttime
from bough.runtime.spec import Exited, Started, UnitSpec

DAYS_S = 3 * 86_400.0
ROUNDED_S = 0.1  # a tick of the kernel, and two clocks that are read one after the other


def shown(folder: Path, at: float, *, ready_at: float = 0.0, ended_at: float = 0.0, of: str = "") -> Attempt:
    """This process as a unit that began when the clock said `at`."""
    record = Record(UnitSpec(unit="u", attempt=1, kind="job", argv=["x"]), folder, folder / "link")
    own = os.getpid()
    record.started = Started(shim_pid=0, shim_starttime=0, pid=own, starttime=starttime(own), at=at, boot=of or boot())
    record.ready_at = ready_at
    record.exit = Exited(code=0, reason="exited", at=ended_at) if ended_at else None
    return record.attempt("node")


@pytest.fixture
def began() -> float:
    """When this process did, by the clock as it is."""
    ran_s = time.clock_gettime(time.CLOCK_BOOTTIME) - starttime(os.getpid()) / os.sysconf("SC_CLK_TCK")
    return time.time() - ran_s


@pytest.mark.parametrize("set_by", [DAYS_S, -DAYS_S])
def test_a_clock_that_was_set_moves_the_beginning_of_what_runs(tmp_path: Path, began: float, set_by: float) -> None:
    found = shown(tmp_path, began - set_by, ready_at=began - set_by + 1.5)
    assert found.started_at == pytest.approx(began, abs=ROUNDED_S)
    assert found.ready_at - found.started_at == pytest.approx(1.5, abs=ROUNDED_S), "it took as long as it took"
    assert found.set_s == pytest.approx(set_by, abs=ROUNDED_S)


def test_one_that_nobody_has_set_is_believed_as_what_began_before_the_machine_did(tmp_path: Path, began: float) -> None:
    found = shown(tmp_path, began + 0.5)
    assert (found.started_at, found.set_s) == (began + 0.5, 0.0)
    assert shown(tmp_path, began - DAYS_S, of="another").started_at == began - DAYS_S


def test_what_ended_before_the_clock_was_set_ran_for_as_long_as_it_did(tmp_path: Path, began: float) -> None:
    before = shown(tmp_path, began - DAYS_S, ended_at=began - DAYS_S + 9.0)
    assert before.started_at == began - DAYS_S
    after = shown(tmp_path, began - DAYS_S, ended_at=began + 9.0)
    assert after.started_at == pytest.approx(began, abs=ROUNDED_S)
