"""Clocks: one that runs, one that stands still until told."""

from __future__ import annotations

import threading
import time

from bough.kernel.clock import SystemClock, VirtualClock, Waits


def test_the_virtual_clock_moves_only_when_told() -> None:
    clock = VirtualClock(100.0)
    assert (clock.now(), clock.now()) == (100.0, 100.0)
    clock.advance(2.5)
    assert clock.now() == 102.5


def test_waiting_on_the_virtual_clock_passes_its_time_not_ours() -> None:
    clock, event = VirtualClock(0.0), threading.Event()
    began = time.monotonic()
    assert not clock.wait(event, 3600.0)
    assert clock.now() == 3600.0
    assert time.monotonic() - began < 60


def test_waiting_for_what_has_happened_passes_no_time() -> None:
    clock, event = VirtualClock(0.0), threading.Event()
    event.set()
    assert clock.wait(event, 3600.0)
    assert clock.now() == 0.0


def test_no_advance_of_many_threads_is_lost() -> None:
    clock = VirtualClock(0.0)
    threads = [threading.Thread(target=lambda: [clock.advance(1.0) for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now() == 8000.0


def test_the_system_clock_is_utc_and_wakes_for_its_event() -> None:
    clock, event = SystemClock(), threading.Event()
    assert abs(clock.now() - time.time()) < 1
    assert not clock.wait(event, 0.001)
    threading.Timer(0.01, event.set).start()
    assert clock.wait(event, 30.0)


def test_what_has_passed_is_the_same_whoever_sets_the_clock() -> None:
    clock, waits = VirtualClock(100.0), Waits()
    assert waits.seconds(clock, "unit", 100.0) == 0.0
    clock.advance(3.0)
    clock.set_by(-50.0)
    assert clock.now() == 53.0 and waits.seconds(clock, "unit", 100.0) == 3.0
    clock.set_by(5000.0)
    clock.advance(2.0)
    assert waits.seconds(clock, "unit", 100.0) == 5.0
    assert waits.seconds(clock, "unit", 5055.0) == 0.0, "another beginning"
    clock.advance(1.0)
    waits.over("unit")
    assert waits.seconds(clock, "unit", 5055.0) == 0.0


def test_what_has_passed_on_a_machine_is_what_its_boot_clock_says() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= SystemClock().passed() <= time.clock_gettime(time.CLOCK_BOOTTIME)
