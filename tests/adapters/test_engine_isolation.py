"""The isolation ladder: probed, and honest about what is missing."""

from __future__ import annotations

from pathlib import Path

from bough.adapters.engine.isolation import landlock_abi, probe

RUNGS = ["rlimits", "no_new_privs", "landlock", "user_namespaces", "bubblewrap", "cgroups", "gpu", "reflink"]


def test_the_ladder_has_8_rungs_each_with_what_it_gives_and_why_not(tmp_path: Path) -> None:
    rungs = probe(tmp_path)
    assert [rung.name for rung in rungs] == RUNGS
    for rung in rungs:
        assert rung.gives
        assert bool(rung.why_not) != rung.available
    assert list(tmp_path.iterdir()) == []


def test_landlock_is_said_to_be_there_exactly_when_the_kernel_has_it(tmp_path: Path) -> None:
    landlock = next(rung for rung in probe(tmp_path) if rung.name == "landlock")
    assert landlock.available == (landlock_abi() > 0)


def test_a_folder_that_does_not_exist_has_no_reflinks_and_says_why(tmp_path: Path) -> None:
    reflink = probe(tmp_path / "absent")[-1]
    assert not reflink.available and "absent" in reflink.why_not


def test_the_probe_changes_nothing_in_this_process() -> None:
    before = Path("/proc/self/status").read_text(), Path("/proc/self/ns/user").readlink()
    probe()
    after = Path("/proc/self/status").read_text(), Path("/proc/self/ns/user").readlink()
    assert before[1] == after[1]
    assert [line for line in before[0].splitlines() if "NoNewPrivs" in line] == [
        line for line in after[0].splitlines() if "NoNewPrivs" in line
    ]
