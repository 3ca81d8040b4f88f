"""What a program says of itself while it trains."""

from __future__ import annotations

from pathlib import Path

from bough.kernel.clock import VirtualClock
from bough.runtime.checkpoints.progress import FILE_NAME, Reporter, read_progress


def test_what_was_said_is_read_back(tmp_path: Path, clock: VirtualClock) -> None:
    reporter = Reporter(tmp_path, clock.now)
    reporter.say(step=3, total=10, step_s=0.5, message="begun")
    found = read_progress(tmp_path)
    assert found is not None
    assert (found.step, found.total, found.message, found.done) == (3, 10, "begun", False)


def test_it_is_written_at_most_once_a_second_unless_it_matters(tmp_path: Path, clock: VirtualClock) -> None:
    reporter = Reporter(tmp_path, clock.now)
    seen = []
    for step in range(1, 31):
        clock.advance(0.1)
        reporter.say(step=step)
        seen.append(read_progress(tmp_path).step)  # type: ignore[union-attr]
    assert len(set(seen)) == 3
    reporter.say(whole=True, done=True)
    last = read_progress(tmp_path)
    assert last is not None and last.done and last.step == 30


def test_nothing_is_read_from_nothing_and_from_a_broken_file(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    (tmp_path / FILE_NAME).write_bytes(b'{"at": 1')
    assert read_progress(tmp_path) is None


def test_a_folder_that_takes_nothing_stops_nobody(tmp_path: Path, clock: VirtualClock) -> None:
    reporter = Reporter(tmp_path / "missing", clock.now)
    reporter.say(whole=True, step=1)
    assert reporter.now.step == 1


def test_it_is_written_on_when_the_clock_was_set_back(tmp_path: Path, clock: VirtualClock) -> None:
    reporter = Reporter(tmp_path, clock.now)
    reporter.say(step=1)
    clock.set_by(-3 * 86_400.0)
    reporter.say(step=2)
    found = read_progress(tmp_path)
    assert found is not None and found.step == 2
