"""The promises of bough/adapters/engine, one body over every engine: fake, local, remote, and each behind faults."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bough.adapters.engine import WOKEN_S
from bough.adapters.engine.fake import FakeEngine
from bough.kernel.errors import Busy, Conflict, Invalid, NotFound, Unavailable
from bough.runtime.spec import Limits, ModelSpec, UnitSpec
from tests.adapters import engine_rigs as rigs
from tests.adapters.engine_rigs import Rig

ALL = ["fake", "local", "remote", "fake-faulty", "local-faulty", "remote-faulty"]
REAL = ["local", "remote", "remote-faulty"]


@pytest.fixture(params=ALL)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with rigs.rig(request.param) as under_test:
        yield under_test


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with rigs.rig(request.param) as under_test:
        yield under_test


def test_ten_applies_of_one_attempt_start_one_process(rig: Rig) -> None:
    spec = rig.spec("a", rigs.runs())
    for _ in range(9):
        rig.engine.apply(spec)
    first = rig.until("a", "running")
    again = rig.engine.apply(spec)
    assert (again.pid, again.state, again.started_at) == (first.pid, "running", first.started_at)
    assert len(rig.engine.snapshot()) == 1


def test_an_attempt_that_has_exited_stays_so(rig: Rig) -> None:
    spec = rig.spec("a", rigs.exits(3))
    rig.engine.apply(spec)
    before = rig.until("a", "exited")
    assert rig.engine.apply(spec).exit == before.exit


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_codes_are_kept(rig: Rig, code: int) -> None:
    rig.engine.apply(rig.spec("a", rigs.exits(code)))
    ended = rig.exited("a")
    assert (ended.code, ended.reason) == (code, "exited")


def test_a_lower_attempt_is_refused(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs(), attempt=2))
    with pytest.raises(Conflict) as refused:
        rig.engine.apply(rig.spec("a", rigs.runs(), attempt=1))
    assert refused.value.own_code == "ATTEMPT_SUPERSEDED"
    rig.engine.stop("a", 1)
    assert rig.until("a", "running").attempt == 2


def test_a_higher_attempt_begins_only_after_the_lower_has_ended(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.stubborn(), grace_s=0.3))
    rig.until("a", "running")
    rig.until_output("a", b"deaf")
    asked_at = time.time()
    assert rig.engine.apply(rig.spec("a", rigs.runs(), attempt=2)).state == "starting"
    second = rig.until("a", "running")
    assert second.attempt == 2
    if rig.real:
        assert second.started_at >= asked_at + 0.3
    assert set(rig.engine.usage()) == {"a/1", "a/2"}


def test_stop_asks_first(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs()))
    rig.until("a", "running")
    rig.engine.stop("a", 1)
    ended = rig.exited("a")
    assert (ended.code, ended.reason) == (-15, "stopped")


def test_stop_kills_after_grace_and_not_before(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.stubborn()))
    rig.until("a", "running")
    rig.until_output("a", b"deaf")
    rig.engine.stop("a", 1, 1000.0)
    assert rig.look("a").state == "stopping"
    asked_at = rig.now()
    rig.engine.stop("a", 1, 0.4)
    ended = rig.exited("a")
    assert (ended.code, ended.reason) == (-9, "stopped")
    assert 0.4 <= rig.now() - asked_at < rigs.PATIENCE_S


def test_a_second_stop_may_shorten_grace(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.stubborn()))
    rig.until("a", "running")
    rig.until_output("a", b"deaf")
    rig.engine.stop("a", 1, 1000.0)
    rig.engine.stop("a", 1, 0.0)
    assert rig.exited("a").code == -9


def test_stop_before_the_process_exists_is_not_lost_in_10_rounds(rig: Rig) -> None:
    for number in range(10):
        rig.engine.apply(rig.spec(f"a{number}", rigs.runs()))
        rig.engine.stop(f"a{number}", 1)
    for number in range(10):
        assert rig.exited(f"a{number}").reason == "stopped"


def test_stop_of_the_unknown_superseded_or_exited_does_nothing(rig: Rig) -> None:
    rig.engine.stop("nobody", 1)
    rig.engine.apply(rig.spec("a", rigs.exits(0)))
    ended = rig.exited("a")
    rig.engine.stop("a", 1)
    rig.engine.stop("a", 7)
    assert rig.look("a").exit == ended


def test_output_is_exact_at_60_random_offsets_across_rotation(rig: Rig, tmp_path: Path) -> None:
    draw = random.Random(7)
    written = draw.randbytes(1_700_000)
    rig.engine.apply(rig.spec("a", rigs.prints(tmp_path / "o", written), limits=Limits(log_mb=1)))
    rig.exited("a")
    for offset in [0, len(written) - 1, len(written), len(written) + 5, *draw.choices(range(len(written)), k=56)]:
        chunks = list(rig.engine.logs("a", 1, offset, follow=False))
        if offset >= len(written):
            assert chunks == []
            continue
        first = chunks[0].offset
        assert first == offset or (offset < first <= len(written) - 900_000)
        assert b"".join(chunk.data for chunk in chunks) == written[first:]
        for left, right in itertools.pairwise(chunks):
            assert left.offset + len(left.data) == right.offset


def test_follow_gives_everything_and_ends_with_the_attempt(real: Rig) -> None:
    code = "import time\nfor i in range(40): print(i); time.sleep(0.005)"
    real.engine.apply(real.spec("a", rigs.Story(argv=rigs.python(code))))
    expected = b"".join(b"%d\n" % number for number in range(40))
    assert real.output("a", follow=True) == expected
    assert real.output("a", offset=10, follow=True) == expected[10:]


def test_output_of_an_unknown_attempt_is_not_found_at_once(rig: Rig) -> None:
    with pytest.raises(NotFound):
        rig.engine.logs("nobody", 1, 0, follow=True)


def test_usage_is_cumulative_and_kept_until_forgotten(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.burns()))
    rig.until("a", "running")
    samples = [0.0]
    deadline = rig.now() + 60
    while samples[-1] < 0.05 and rig.now() < deadline:
        rig.let_pass(0.05)
        samples.append(rig.engine.usage()["a/1"].cpu_s)
    assert samples == sorted(samples)
    rig.engine.stop("a", 1)
    rig.exited("a")
    final = rig.engine.usage()["a/1"].cpu_s
    assert final >= samples[-1] >= 0.05
    rig.engine.forget("a")
    assert rig.engine.usage() == {}


def test_forget_leaves_a_running_unit_alone_and_drops_an_exited_one(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs()))
    rig.until("a", "running")
    rig.engine.forget("a")
    assert rig.look("a").state == "running"
    rig.engine.stop("a", 1)
    rig.exited("a")
    rig.engine.forget("a")
    rig.engine.forget("nobody")
    assert rig.engine.snapshot() == []
    with pytest.raises(NotFound):
        rig.engine.logs("a", 1, 0, follow=False)


def test_wake_starts_the_next_attempt_of_what_failed(rig: Rig, tmp_path: Path) -> None:
    flag = tmp_path / "failed-once"
    story = rigs.Story(
        argv=["sh", "-c", f"test -e {flag} && exec sleep 1000; touch {flag}; exit 1"],
        behaviour=rigs.exits(1).behaviour,
    )
    rig.engine.apply(rig.spec("a", story))
    rig.exited("a")
    rig.script("a", rigs.runs().behaviour)
    woken = rig.engine.wake("a")
    assert (woken.attempt, woken.before and (woken.before.code, woken.before.reason)) == (2, (1, "exited"))
    assert rig.until("a", "running").attempt == 2


def test_wake_leaves_what_runs_or_was_stopped(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs()))
    rig.until("a", "running")
    assert rig.engine.wake("a").attempt == 1
    rig.engine.stop("a", 1)
    rig.exited("a")
    woken = rig.engine.wake("a")
    assert (woken.attempt, woken.state) == (1, "exited")
    with pytest.raises(NotFound):
        rig.engine.wake("nobody")


def test_wake_of_what_keeps_failing_comes_at_growing_intervals(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.exits(1)))
    pauses: list[float] = []
    while not pauses or pauses[-1] < 0.15:
        assert len(pauses) < 30
        attempt = rig.until("a", "exited").attempt
        try:
            rig.engine.wake("a")
        except Busy as busy:
            pauses.append(busy.retry_after_s)
            rig.let_pass(busy.retry_after_s + 0.001)
    assert pauses[0] <= 0.101
    assert attempt >= 3  # the pause doubles with every failure: 0, 0.1, 0.2


def test_a_registered_unit_starts_nothing_until_it_is_woken(rig: Rig) -> None:
    seen = rig.engine.register(rig.spec("a", rigs.runs(), labels={"service": "churn"}))
    assert (seen.state, seen.attempt, seen.pid, seen.labels) == ("asleep", 0, 0, {"service": "churn"})
    assert rig.look("a") == seen
    assert rig.engine.usage() == {}
    assert rig.engine.wake("a").attempt == 1
    assert rig.until("a", "running").attempt == 1


def test_registering_the_same_again_gives_no_hint_and_another_is_what_the_next_wake_starts(rig: Rig) -> None:
    rig.engine.register(rig.spec("a", rigs.exits(3)))
    cursor = max((hint.cursor for hint in rig.engine.watch(0, 0.0)), default=0)
    rig.engine.register(rig.spec("a", rigs.exits(3)))
    assert rig.engine.watch(cursor, 0.0) == []
    rig.engine.register(rig.spec("a", rigs.exits(4)))
    rig.engine.wake("a")
    assert rig.exited("a").code == 4


def test_sleep_stops_and_wake_starts_the_next_attempt_of_the_same(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs()))
    rig.until("a", "running")
    rig.engine.sleep("a", 1)
    assert rig.until("a", "asleep").attempt == 1
    woken = rig.engine.wake("a")
    assert (woken.attempt, woken.before) == (2, None), "it was asked to end"
    assert rig.until("a", "running").attempt == 2


@pytest.mark.parametrize("name", ["fake", "local"])
def test_a_unit_that_was_woken_a_while_ago_is_put_to_sleep(name: str) -> None:
    with rigs.rig(name) as rig:
        rig.engine.register(rig.spec("a", rigs.runs()))
        rig.engine.wake("a")
        rig.until("a", "running")
        rig.let_pass(WOKEN_S + 0.01)
        rig.engine.sleep("a", 1)
        assert rig.until("a", "asleep").attempt == 1


def test_what_is_registered_while_it_runs_is_what_it_is_woken_as(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs(), labels={"n": "1"}))
    rig.until("a", "running")
    assert rig.engine.register(rig.spec("a", rigs.runs(), labels={"n": "2"})).state == "running"
    assert rig.look("a").labels == {"n": "1"}
    rig.engine.sleep("a", 1)
    rig.until("a", "asleep")
    assert rig.engine.wake("a").labels == {"n": "2"}


def test_an_attempt_that_is_applied_counts_more_than_what_was_registered_before(rig: Rig) -> None:
    rig.engine.register(rig.spec("a", rigs.runs(), labels={"n": "1"}))
    rig.engine.apply(rig.spec("a", rigs.runs(), labels={"n": "2"}))
    rig.until("a", "running")
    rig.engine.sleep("a", 1)
    rig.until("a", "asleep")
    assert rig.engine.wake("a").labels == {"n": "2"}


def test_a_wake_while_it_goes_to_sleep_is_not_lost(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.stubborn(), grace_s=1.5))
    rig.until_output("a", b"deaf")
    rig.engine.sleep("a", 1)
    assert rig.look("a").state == "stopping"
    assert rig.engine.wake("a").attempt == 2
    assert rig.until("a", "running").attempt == 2


def test_a_unit_that_was_just_woken_is_not_put_to_sleep(rig: Rig) -> None:
    rig.engine.register(rig.spec("a", rigs.runs()))
    rig.engine.wake("a")
    rig.until("a", "running")
    with pytest.raises(Busy) as refused:
        rig.engine.sleep("a", 1)
    assert refused.value.own_code == "JUST_WOKEN"
    assert rig.look("a").state == "running"


def test_sleep_of_the_unknown_superseded_or_stopped_does_nothing(rig: Rig) -> None:
    rig.engine.sleep("nobody", 1)
    rig.engine.apply(rig.spec("a", rigs.runs(), attempt=2))
    rig.until("a", "running")
    rig.engine.sleep("a", 1)
    rig.engine.sleep("a", 3)
    assert rig.look("a").state == "running"
    rig.engine.stop("a", 2)
    rig.exited("a")
    rig.engine.sleep("a", 2)
    assert (rig.look("a").state, rig.engine.wake("a").state) == ("exited", "exited")


def test_a_sleeping_unit_that_is_stopped_is_not_woken_any_more(rig: Rig) -> None:
    rig.engine.register(rig.spec("never-ran", rigs.runs()))
    rig.engine.apply(rig.spec("ran", rigs.runs()))
    rig.until("ran", "running")
    rig.engine.sleep("ran", 1)
    rig.until("ran", "asleep")
    rig.engine.stop("never-ran", 0)
    rig.engine.stop("ran", 1)
    assert [(each.unit, each.state) for each in rig.engine.snapshot()] == [("ran", "exited")]
    assert rig.engine.wake("ran").state == "exited"
    with pytest.raises(NotFound):
        rig.engine.wake("never-ran")


def test_a_stop_while_it_goes_to_sleep_ends_it_for_good(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.stubborn(), grace_s=0.3))
    rig.until_output("a", b"deaf")
    rig.engine.sleep("a", 1)
    rig.engine.stop("a", 1)
    rig.exited("a")
    assert rig.engine.wake("a").state == "exited"


def test_a_sleeping_unit_is_forgotten_whether_it_ever_ran_or_not(rig: Rig) -> None:
    rig.engine.register(rig.spec("never-ran", rigs.runs()))
    rig.engine.apply(rig.spec("ran", rigs.runs()))
    rig.until("ran", "running")
    rig.engine.sleep("ran", 1)
    rig.until("ran", "asleep")
    for unit in ("never-ran", "ran"):
        rig.engine.forget(unit)
    assert rig.engine.snapshot() == []


def test_what_crashed_is_asleep_once_it_is_registered_again(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.exits(1)))
    rig.exited("a")
    assert rig.engine.register(rig.spec("a", rigs.runs())).state == "asleep"
    rig.script("a", rigs.runs().behaviour)
    rig.engine.wake("a")
    assert rig.until("a", "running").attempt == 2


def test_a_sleeping_web_unit_gets_its_address_when_it_is_woken(rig: Rig) -> None:
    assert rig.engine.register(rig.spec("a", rigs.web())).address == ""
    assert rig.engine.wake("a").address.startswith("127.0.0.1:")
    rig.until("a", "ready")


def test_after_a_restart_of_the_engine_sleeping_units_sleep_and_can_be_woken(real: Rig) -> None:
    real.engine.register(real.spec("never-ran", rigs.runs()))
    real.engine.apply(real.model("model", "plain"))
    real.engine.apply(real.spec("deaf", rigs.stubborn(), grace_s=3.0))
    address = real.until("model", "ready").address
    real.until_output("deaf", b"deaf")
    real.engine.sleep("model", 1)
    real.until("model", "asleep")
    real.engine.sleep("deaf", 1)
    real.restart()
    assert {each.unit: each.state for each in real.engine.snapshot()} == {
        "never-ran": "asleep", "model": "asleep", "deaf": "stopping",
    }  # fmt: skip
    assert real.look("model").address == address
    for unit, attempt in (("never-ran", 1), ("model", 2), ("deaf", 2)):
        assert real.engine.wake(unit).attempt == attempt
    real.restart()
    assert real.until("deaf", "running").attempt == 2
    assert real.until("never-ran", "running").attempt == 1
    real.until("model", "ready")
    assert _ask(address) == b"model/2"


def test_a_lease_that_nobody_renews_ends_the_unit(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs(), lease_s=0.3))
    ended = rig.exited("a")
    assert (ended.code, ended.reason) == (-15, "lease")


def test_a_lease_that_is_renewed_6_times_holds(rig: Rig) -> None:
    spec = rig.spec("a", rigs.runs(), lease_s=1.5)
    for _ in range(6):
        rig.engine.apply(spec)
        rig.let_pass(0.3)
    assert rig.look("a").exit is None


def test_12_web_units_get_12_ports_and_an_exited_one_none_but_its_own(rig: Rig) -> None:
    story = rigs.Story(argv=rigs.runs().argv, changes={"kind": "web", "wants_port": True})
    addresses = {rig.engine.apply(rig.spec(f"w{number}", story)).address for number in range(12)}
    assert len(addresses) == 12
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    assert {rig.look(f"w{number}").address for number in range(12)} == addresses


def test_a_web_unit_is_ready_when_it_answers_below_500(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.web(sick_for_s=0.3)))
    ready = rig.until("a", "ready")
    assert ready.ready_at - ready.started_at >= 0.299


def test_a_404_is_healthy(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.web(status="404 Not Found")))
    rig.until("a", "ready")


def test_a_web_unit_that_never_is_healthy_ends_and_says_so(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.web(status="500 Oh", timeout_s=0.4)))
    ended = rig.exited("a")
    assert ended.failure.code == "NOT_HEALTHY"
    assert rig.engine.wake("a").attempt == 2  # nobody asked it to stop


def test_drain_stops_what_is_there_and_refuses_what_comes(rig: Rig) -> None:
    for number in range(3):
        rig.engine.apply(rig.spec(f"a{number}", rigs.stubborn() if number == 0 else rigs.runs()))
        rig.until(f"a{number}", "running")
    rig.until_output("a0", b"deaf")
    rig.engine.drain("local", 0.2, "maintenance")
    assert {rig.exited(f"a{number}").reason for number in range(3)} == {"stopped"}
    with pytest.raises(Unavailable) as refused:
        rig.engine.apply(rig.spec("b", rigs.runs()))
    assert refused.value.own_code == "NODE_DRAINING"
    with pytest.raises(NotFound):
        rig.engine.drain("elsewhere", 1.0, "")


def test_watch_hints_at_units_once_and_a_foreign_cursor_at_all(rig: Rig) -> None:
    for number in range(3):
        rig.engine.apply(rig.spec(f"a{number}", rigs.exits(0)))
        rig.exited(f"a{number}")
    inner = rig.inner  # type: ignore[attr-defined]  # faults may drop hints: they are the promise's edge
    hints = inner.watch(0, 0.0)
    assert {hint.unit for hint in hints} == {"a0", "a1", "a2"}
    last = max(hint.cursor for hint in hints)
    assert inner.watch(last, 0.0) == []
    assert {hint.unit for hint in inner.watch(last + 10**12, 0.0)} == {"a0", "a1", "a2"}


# From here on only where there are processes.


def test_whoever_watches_an_engine_without_units_waits(real: Rig) -> None:
    """From cursor 0, as the server does at first: an answer at once would have it ask without end."""
    inner = real.inner  # type: ignore[attr-defined]  # as above
    began = time.monotonic()
    assert inner.watch(0, 0.3) == []
    assert time.monotonic() - began >= 0.3
    real.engine.apply(real.spec("a", rigs.runs()))
    assert {hint.unit for hint in inner.watch(0, 5.0)} == {"a"}


def said(rig: Rig, unit: str) -> bytes:
    return b"".join(chunk.data for chunk in rig.engine.logs(unit, 1, 0, follow=False))


def test_a_unit_killed_from_outside_is_killed_not_stopped(real: Rig) -> None:
    real.engine.apply(real.spec("a", rigs.runs()))
    rigs.kill(real.until("a", "running"))
    ended = real.exited("a")
    assert (ended.code, ended.reason) == (-9, "killed")
    assert said(real, "a") == b"bough: ended by signal 9 (Killed)\n"


def test_a_wake_right_after_a_kill_starts_the_next_attempt_although_nobody_has_told_of_it_yet(real: Rig) -> None:
    real.engine.apply(real.spec("a", rigs.runs()))
    seen = real.until("a", "running")
    shim = int(Path(f"/proc/{seen.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(shim, signal.SIGSTOP)
    rigs.kill(seen)
    assert rigs.gone(seen.pid)
    threading.Timer(0.1, os.kill, (shim, signal.SIGCONT)).start()
    assert real.engine.wake("a").attempt == 2


def test_children_of_children_in_4_sessions_are_killed(real: Rig) -> None:
    script = "for i in 1 2 3 4; do setsid sh -c 'sleep 1000 & echo $!; wait' & done; wait"
    real.engine.apply(real.spec("a", rigs.Story(argv=["sh", "-c", script]), grace_s=0.2))
    real.until("a", "running")
    seen = b""
    for chunk in real.engine.logs("a", 1, 0, follow=True):
        seen += chunk.data
        if seen.count(b"\n") == 4:
            break
    real.engine.stop("a", 1)
    real.exited("a")
    assert [pid for pid in map(int, seen.split()) if rigs.alive(pid)] == []


def test_what_a_unit_leaves_behind_ends_with_it(real: Rig) -> None:
    real.engine.apply(real.spec("a", rigs.Story(argv=["sh", "-c", "setsid sleep 1000 & echo $!; exit 5"])))
    assert real.exited("a").code == 5
    assert not rigs.alive(int(real.output("a")))


def test_a_command_that_does_not_exist_says_what_to_do(real: Rig) -> None:
    real.engine.apply(real.spec("a", rigs.Story(argv=["no-such-command-at-all"])))
    ended = real.exited("a")
    assert (ended.code, ended.failure.code) == (127, "COMMAND_NOT_FOUND")
    assert "requirements" in ended.failure.hint
    assert b"cannot start" in real.output("a")


def test_a_folder_that_does_not_exist_says_what_to_do(real: Rig) -> None:
    real.engine.apply(real.spec("a", rigs.runs(), cwd="/no/such/folder"))
    assert real.exited("a").failure.code == "CWD_MISSING"


def test_memory_beyond_the_limit_ends_the_unit_with_that_reason(real: Rig) -> None:
    hungry = rigs.python("kept = bytearray(200 << 20)\nimport time\ntime.sleep(1000)")
    real.engine.apply(real.spec("a", rigs.Story(argv=hungry), limits=Limits(memory_mb=80)))
    ended = real.exited("a")
    assert (ended.reason, ended.failure.code) == ("memory", "MEMORY_LIMIT")
    assert ended.usage.memory_peak_bytes > 80 << 20
    assert re.fullmatch(rb"bough: used \d+ MB of memory, more than its limit of 80 MB; .*\n", said(real, "a"))


def test_a_unit_sees_its_own_environment_and_nothing_of_the_nodes(real: Rig) -> None:
    os.environ["BOUGH_SECRET_OF_NODE"] = "x"
    try:
        story = rigs.Story(argv=["env"])
        real.engine.apply(real.spec("a", story, environment={"MINE": "1"}, wants_port=True))
        real.exited("a")
    finally:
        del os.environ["BOUGH_SECRET_OF_NODE"]
    lines = dict(line.split("=", 1) for line in real.output("a").decode().splitlines())
    assert (lines["MINE"], lines["BOUGH_UNIT"], lines["BOUGH_ATTEMPT"]) == ("1", "a", "1")
    assert lines["PORT"] == real.look("a").address.rpartition(":")[2]
    assert not {"BOUGH_SECRET_OF_NODE", "PYTHONDONTWRITEBYTECODE"} & set(lines)


def test_a_confined_unit_writes_only_to_its_own_folders(real: Rig, tmp_path: Path) -> None:
    # not in the checkout: that may lie under /tmp, which units share
    outside, inside = Path("/var/tmp", f"bough-never-written-{os.getpid()}"), tmp_path / "own"
    inside.mkdir()
    script = f"echo x > {inside}/ok && echo could; echo x > {outside} || echo could not"
    real.engine.apply(real.spec("a", rigs.Story(argv=["sh", "-c", script]), cwd=str(inside), confine=True))
    real.exited("a")
    assert not outside.exists()
    assert b"could\n" in real.output("a") and b"could not\n" in real.output("a")


@pytest.mark.parametrize("unit", ["", "../x", "a/b", ".hidden"])
def test_names_that_are_paths_are_refused(real: Rig, unit: str) -> None:
    with pytest.raises(Invalid):
        real.engine.apply(UnitSpec(unit=unit, attempt=1, kind="job", argv=["true"]))


def test_a_spec_with_both_or_neither_of_command_and_model_is_refused(real: Rig) -> None:
    for argv, model in (([], None), (["true"], ModelSpec(reference="x", folder="/"))):
        with pytest.raises(Invalid):
            real.engine.apply(UnitSpec(unit="a", attempt=1, kind="job", argv=argv, model=model))


def test_after_a_restart_of_the_engine_5_units_are_as_they_were(real: Rig) -> None:
    real.engine.apply(real.spec("runs", rigs.runs()))
    real.engine.apply(real.spec("ends", rigs.exits(4)))
    real.engine.apply(real.spec("web", rigs.web()))
    real.engine.apply(real.spec("late", rigs.Story(argv=["sh", "-c", "sleep 0.15; exit 6"])))
    real.engine.apply(real.model("model", "plain"))
    real.exited("ends"), real.until("web", "ready"), real.until("model", "ready"), real.until("runs", "running")
    before = {attempt.unit: attempt for attempt in real.engine.snapshot() if attempt.unit != "late"}
    real.restart()
    after = {attempt.unit: attempt for attempt in real.engine.snapshot() if attempt.unit != "late"}
    assert after == before
    assert real.exited("late").code == 6
    real.engine.stop("runs", 1)
    assert real.exited("runs").reason == "stopped"
    rigs.kill(after["model"])
    real.until("model", "exited")
    assert real.engine.wake("model").attempt == 2


def test_20_replicas_of_one_model_share_one_zygote(real: Rig) -> None:
    for number in range(20):
        real.engine.apply(real.model(f"r{number}", "plain"))
    for number in range(20):
        ready = real.until(f"r{number}", "ready")
        assert ready.signature == {"mode": "item"}
        assert _ask(ready.address) == f"r{number}/1".encode()
    said = [real.until_output(f"r{number}", b"cwd") for number in range(20)]
    assert len({line.split(b"loaded by ")[1].split(b",")[0] for line in said}) == 1
    assert said[3].endswith(b"cwd %s\n" % str(rigs.LOADER_FOLDER).encode())


def test_the_address_of_a_replica_stays_over_3_kills(real: Rig) -> None:
    real.engine.apply(real.model("r", "plain"))
    address = real.until("r", "ready").address
    for attempt in range(1, 4):
        rigs.kill(real.until("r", "ready"))
        real.exited("r")
        _wake_patiently(real, "r")
        real.until("r", "ready")
        assert _ask(address) == f"r/{attempt + 1}".encode()


@pytest.mark.parametrize(
    ("reference", "code", "text"),
    [
        ("broken", "LOAD_FAILED", "these weights are not weights"),
        ("missing", "MODULE_MISSING", "no_such_package_at_all"),
        ("exits", "LOAD_FAILED", "gave up"),
        ("dies", "LOAD_DIED", ""),
    ],
)
def test_a_model_that_does_not_load_fails_the_attempt_with_its_reason(
    real: Rig, reference: str, code: str, text: str
) -> None:
    real.engine.apply(real.model("r", reference))
    ended = real.exited("r")
    assert (ended.reason, ended.failure.code) == ("exited", code)
    assert text in ended.failure.message
    assert f"preparing {reference}".encode() in real.output("r")


def test_a_replica_that_throws_fails_with_its_traceback(real: Rig) -> None:
    real.engine.apply(real.model("r", "throws"))
    ended = real.exited("r")
    assert (ended.code, ended.failure.code) == (1, "LOAD_FAILED")
    assert "predict went away" in ended.failure.traceback


def test_a_model_that_starts_threads_is_loaded_after_the_fork(real: Rig) -> None:
    real.engine.apply(real.model("r", "threads"))
    real.until("r", "ready")
    real.until_output("r", b"serving r imports")


def test_a_stop_while_the_model_loads_is_kept(real: Rig) -> None:
    real.engine.apply(real.model("r", "slow"))
    real.engine.stop("r", 1)
    assert real.exited("r").reason == "stopped"


def test_a_replica_is_reached_even_in_a_deep_home_and_under_a_long_name(real: Rig) -> None:
    unit = "replica-" + "x" * 120
    real.engine.apply(real.model(unit, "plain"))
    assert _ask(real.until(unit, "ready").address) == f"{unit}/1".encode()


def test_the_fake_engine_gives_back_what_a_script_says() -> None:
    engine = FakeEngine()
    engine.script("a", rigs.Behaviour(ready_after_s=5.0))
    engine.apply(UnitSpec(unit="a", attempt=1, kind="replica", argv=["x"]))
    states = []
    for _ in range(3):
        states.append(engine.snapshot()[0].state)
        engine.clock.advance(4.0)  # type: ignore[attr-defined]  # a VirtualClock
    engine.crash("a")
    assert [*states, engine.snapshot()[0].state] == ["running", "running", "ready", "exited"]


def _ask(address: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address.removeprefix("unix:"))
        return connection.recv(1000)


def _wake_patiently(rig: Rig, unit: str) -> None:
    for _ in range(20):
        try:
            rig.engine.wake(unit)
            return
        except Busy as busy:
            rig.let_pass(busy.retry_after_s)
    raise AssertionError("never woken")
