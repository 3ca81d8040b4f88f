"""What an end means, whose turn it is, what fits: pure decisions."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.adapters.accelerators.fake import FakeAccelerators
from bough.adapters.accelerators.nvml import kind_of
from bough.environments.models import JobManifest
from bough.jobs import rules
from bough.jobs.machine import Machine, Room, part_asked, part_held
from bough.jobs.models import JobRun
from bough.kernel.jobs import Processes, Range, Sweep, accelerator, wrong
from bough.kernel.workloads import Job, Resources
from bough.runtime.spec import Exited, Failure
from bough.tracking.models import Metric


def a_run(id: str = "jr_1", *, size: int = 1, devices: tuple[str, ...] = (), **settings: Any) -> JobRun:
    job = Job(command="x", **settings)
    manifest = JobManifest(settings=job, bundle="")
    return JobRun(
        id=id, project="lab", environment="main", job="fit", release=1, by="ada", state="queued", said="",
        manifest=manifest, size=size, devices=list(devices), created_at=float(id.partition("_")[2] or 0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("exit", "words"),
    [
        (Exited(code=3, reason="exited", at=1.0), "exit status 3"),
        (Exited(code=137, reason="exited", at=1.0), "exit status 137 (SIGKILL)"),
        (Exited(code=255, reason="exited", at=1.0), "exit status 255"),
        (Exited(code=-11, reason="killed", at=1.0), "it was ended by SIGSEGV from outside"),
        (Exited(code=0, reason="lost", at=1.0), "the process that guards it was killed, and it with it"),
        (Exited(code=1, reason="exited", at=1.0, failure=Failure(code="X", message="no module")), "no module"),
    ],
)
def test_an_end_is_said_in_words(exit: Exited, words: str) -> None:
    assert rules.words(exit) == words


def test_of_several_processes_the_one_that_ended_badly_first_is_to_blame() -> None:
    exits = [Exited(code=code, reason="exited", at=at) for code, at in ((1, 3.0), (0, 1.0), (2, 2.0))]
    assert rules.guilty_of(exits) == 2 and rules.guilty_of(exits[1:2]) is None
    assert rules.outcome(a_run(retries=0), exits, done=False, last_line="oh").said == "exit status 2; its last line: oh"
    lost = [Exited(code=0, reason="lost", at=1.0)]
    assert "last line" not in rules.outcome(a_run(retries=0), lost, done=False, last_line="oh").said


def test_a_guardian_that_dies_costs_capacity_and_a_program_that_fails_an_error() -> None:
    run = a_run(retries=0)
    lost = rules.outcome(run, [Exited(code=0, reason="lost", at=1.0)], done=False)
    assert (lost.state, lost.cause, lost.pause_s) == ("", "capacity", 0.0)
    failed = rules.outcome(run, [Exited(code=1, reason="exited", at=1.0)], done=False)
    assert (failed.state, failed.cause) == ("failed", "error")


def test_a_checkpoint_that_is_refused_ends_the_run_at_once_and_says_what_to_do() -> None:
    run, bad = a_run(retries=10), [Exited(code=1, reason="exited", at=1.0)]
    refused = Failure(code="CHECKPOINT_CODE_CHANGED", message="train.py has changed", hint="migrate=")
    made = rules.outcome(run, bad, done=False, refused=refused, last_line="oh")
    assert (made.state, made.said, made.failure["hint"]) == ("failed", "train.py has changed", "migrate=")
    lost = rules.outcome(run, [Exited(code=0, reason="lost", at=1.0)], done=False, refused=refused)
    assert (lost.state, lost.cause) == ("", "capacity"), "it was not the program that ended"


def test_pauses_after_errors_double_unless_the_attempt_came_on() -> None:
    run = a_run(retries=10)
    bad, pauses, came_on = [Exited(code=1, reason="exited", at=1.0)], [], []
    for _ in range(4):
        made = rules.outcome(run, bad, done=False)
        pauses.append(made.pause_s)
        came_on.append(rules.outcome(run, bad, done=False, came_on=True).pause_s)
        run = rules.msgspec.structs.replace(run, spent=made.spent)
    assert pauses == [1.0, 2.0, 4.0, 8.0] and came_on == [1.0] * 4


def _whole(_run: JobRun) -> float:
    return 1.0


def test_queues_take_turns_by_their_weights_and_in_a_queue_the_priority_counts() -> None:
    many = [a_run(f"jr_{at}", queue="big") for at in range(6)]
    few = [a_run(f"jr_{at}", queue="small") for at in range(6, 9)]
    order = [run.manifest.settings.queue for run in rules.turn_order([*many, *few], {}, {}, _whole)]
    assert order[:6] == ["big", "small"] * 3, "whoever asks for much does not keep out who asks for little"
    order = [run.manifest.settings.queue for run in rules.turn_order([*many, *few], {}, {"big": 2.0}, _whole)]
    assert order[:6].count("big") == 4
    order = [run.manifest.settings.queue for run in rules.turn_order([*many, *few], {"big": 100.0}, {}, _whole)]
    assert order[:3] == ["small"] * 3, "who has had much lately waits"
    first = next(rules.turn_order([*many, a_run("jr_99", queue="big", priority=5)], {}, {}, _whole))
    assert first.id == "jr_99"


def test_no_more_are_put_in_order_than_are_asked_for() -> None:
    weighed = list[str]()

    def part(run: JobRun) -> float:
        weighed.append(run.id)
        return 1.0

    order = rules.turn_order([a_run(f"jr_{at}", queue=f"q{at % 3}") for at in range(300)], {}, {}, part)
    assert [next(order).id for _ in range(4)] == ["jr_0", "jr_1", "jr_2", "jr_3"]
    assert weighed == ["jr_0", "jr_1", "jr_2", "jr_3"]
    kept = msgspec.structs.replace(a_run("jr_7", queue="big"), next_size=2)
    order = rules.turn_order([a_run("jr_1", queue="small"), kept], {"big": 9.0}, {}, part)
    assert next(order) is kept, "whoever goes on with another size has its place"


def test_a_queue_whose_runs_take_eight_times_as_much_gets_an_eighth_as_many_turns() -> None:
    machine = Machine(cpus=16.0, memory_mb=64_000)
    wide = [a_run(f"jr_{at}", queue="wide", processes=8, resources=Resources(cpus=1)) for at in range(20)]
    slim = [a_run(f"jr_{at}", queue="slim", resources=Resources(cpus=1)) for at in range(20, 60)]
    order = list(rules.turn_order([*wide, *slim], {}, {}, lambda run: part_asked(machine, run)))
    assert [run.manifest.settings.queue for run in order[:18]].count("wide") == 2


def test_what_a_run_takes_of_a_machine_is_the_part_of_what_it_takes_most_of() -> None:
    gpus = tuple(FakeAccelerators("t4:4").devices())
    machine = Machine(cpus=8.0, memory_mb=8000, devices=gpus)
    one = a_run(resources=Resources(cpus=1))
    assert part_held(machine, one) == part_asked(machine, one) == 1 / 8
    assert part_held(machine, a_run(size=4, processes=4, resources=Resources(cpus=1))) == 4 / 8
    assert part_held(machine, a_run(resources=Resources(cpus=1, memory_mb=6000))) == 6 / 8, "memory"
    with_gpus = a_run(devices=("0", "1"), resources=Resources(cpus=1, gpus=2))
    assert part_held(machine, with_gpus) == part_asked(machine, with_gpus) == 2 / 4, "devices"
    half = a_run(devices=("0",), resources=Resources(cpus=0.1, gpus=0.5))
    assert part_held(machine, half) == part_asked(machine, half) == 0.5 / 4
    named = a_run(processes=2, resources=Resources(accelerators=["t4:2"]))
    assert part_asked(machine, named) == 1.0
    assert part_asked(Machine(cpus=8.0, memory_mb=8000), named) == 0.5 / 8, "accelerators of a pool are not of here"
    assert part_held(machine, a_run(resources=Resources(cpus=20))) == 1.0, "all of it, and no more"


def test_a_sweep_with_the_same_seed_is_the_same_sweep() -> None:
    sweep = Sweep(random={"lr": Range(min=1e-4, max=1e-1, log=True), "depth": [1, 2]}, count=20, seed=3)
    assert rules.children(sweep, 0) == rules.children(sweep, 0)
    assert all(1e-4 <= each["lr"] <= 1e-1 for each in rules.children(sweep, 0))  # type: ignore[operator]
    assert {each["depth"] for each in rules.children(sweep, 0)} == {1, 2}
    assert rules.children(Sweep(), 3) == [{}, {}, {}]


def test_the_median_rule_stops_what_is_worse_and_nothing_before_it_has_had_its_points() -> None:
    good, fair, bad = [0.5, 0.4, 0.3], [0.6, 0.5, 0.4], [0.9, 0.9, 0.9]
    assert rules.is_worse(bad, [good, fair], "min", 3) and not rules.is_worse(bad[:2], [good, fair], "min", 3)
    assert not rules.is_worse(good, [fair, bad], "min", 3)
    assert not rules.is_worse(bad, [good], "min", 3), "one other is no crowd"
    assert rules.is_worse([0.1] * 3, [[0.5] * 3, [0.6] * 3], "max", 3)


def test_what_has_diverged_is_worse_than_any_number_and_never_the_best() -> None:
    nan = math.nan
    for goal in ("min", "max"):
        assert rules.is_worse([nan] * 3, [[0.5] * 3, [0.6] * 3], goal, 3), "it is stopped early"
        assert not rules.is_worse([0.5] * 3, [[nan] * 3, [nan] * 3], goal, 3)
    assert (rules.best([nan, 0.3, 0.4], "min"), rules.best([nan, 0.3, 0.4], "max")) == (0.3, 0.4)


def test_points_that_an_attempt_logs_again_are_counted_once() -> None:
    def logged(*points: tuple[float, int, float], attempt: int = 2) -> list[float]:
        found = [
            Metric(key="loss", value=value, timestamp_ms=round(at * 1000), step=step) for at, step, value in points
        ]
        return rules.counted_once(
            found, msgspec.structs.replace(a_run(), attempt=attempt, attempt_at=10.0 * (attempt - 1))
        )

    assert logged((1, 1, 0.9), (2, 2, 0.8), (3, 3, 0.7), (11, 2, 0.81), (12, 3, 0.71), (13, 4, 0.6)) == [
        0.9, 0.81, 0.71, 0.6,
    ], "it went on from step 1"  # fmt: skip
    assert logged((1, 1, 0.9), (2, 2, 0.8), (11, 1, 0.9)) == [0.9], "it began anew, and has come no further"
    assert logged((1, 1, 0.9), (2, 2, 0.8), (11, 3, 0.7)) == [0.9, 0.8, 0.7], "nothing was lost"
    assert logged((1, 1, 0.9), (2, 1, 0.8), attempt=1) == [0.9, 0.8], "one attempt counts its steps as it likes"
    assert logged((1, 0, 0.9), (2, 0, 0.8), (11, 0, 0.9)) == [0.9], "without steps its own"
    assert logged((1, 0, 0.9), (2, 0, 0.8)) == [0.9, 0.8], "and the earlier ones while it has none"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.integers(0, 5000), st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=12
    )
)
def test_what_is_placed_never_exceeds_the_machine_and_no_device_is_given_twice(
    asked: list[tuple[float, int, int, int]],
) -> None:
    machine = Machine(cpus=4.0, memory_mb=8000, devices=tuple(FakeAccelerators("t4:4").devices()))
    room, placed, used = Room(machine, ()), [], list[str]()
    for at, (cpus, memory, gpus, processes) in enumerate(asked):
        need = Resources(cpus=cpus, memory_mb=memory, gpus=gpus)
        run = a_run(f"jr_{at}", resources=need, processes=processes)
        fit = room.fit(run)
        if fit is None:
            continue
        room.take(run, fit.size, fit.devices)
        placed.append((need, fit.size))
        used += fit.devices
    assert len(used) == len(set(used)) <= 4
    assert sum(need.memory_mb * size for need, size in placed) <= 8000
    total = sum((need.cpus or 0.25) * size for need, size in placed)
    assert total <= 4.0 + 1e-6 or len(placed) == 1, "more than there is runs alone"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.2, 0.25, 1 / 3, 0.5, 0.75, 1.0, 2.0]), st.integers(1, 3), st.booleans()),
        min_size=1, max_size=14,
    )
)  # fmt: skip
def test_shares_of_a_device_never_add_up_to_more_than_one(asked: list[tuple[float, int, bool]]) -> None:
    machine = Machine(cpus=99.0, memory_mb=8000, devices=tuple(FakeAccelerators("t4:2", "a100:2").devices()))
    room, used, running = Room(machine, ()), dict.fromkeys("0123", 0.0), []
    for at, (gpus, processes, of_kind) in enumerate(asked):
        need = Resources(gpus=gpus, accelerators=["t4"] if of_kind and gpus < 1 else [])
        run = a_run(f"jr_{at}", resources=need, processes=processes)
        if (fit := room.fit(run)) is None:
            continue
        assert len(set(fit.devices)) == len(fit.devices), "processes of one run do not meet on a device"
        assert not need.accelerators or set(fit.devices) <= {"0", "1"}
        running.append(a_run(run.id, resources=need, processes=processes, size=fit.size, devices=fit.devices))
        room.take(run, fit.size, fit.devices)
        for each in fit.devices:
            used[each] += min(gpus, 1.0)
    assert max(used.values()) <= 1.0 + 1e-6
    again, last = Room(machine, running), a_run("jr_99", resources=Resources(gpus=0.2))
    assert again.fit(last) == room.fit(last), "what is left follows from who runs"


def test_a_share_goes_to_the_fullest_device_so_that_whole_ones_stay_whole() -> None:
    machine = Machine(cpus=99.0, memory_mb=8000, devices=tuple(FakeAccelerators("t4:2").devices()))
    room, third = Room(machine, ()), Resources(gpus=1 / 3)
    for at in range(3):
        fit = room.fit(a_run(f"jr_{at}", resources=third))
        assert fit is not None and fit.devices == ("0",)
        room.take(a_run(f"jr_{at}", resources=third), 1, fit.devices)
    whole = room.fit(a_run("jr_3", resources=Resources(gpus=1)))
    assert whole is not None and whole.devices == ("1",)
    assert room.lacks(a_run("jr_4", resources=Resources(gpus=2))) == "waits for 2 GPUs of this machine"
    assert room.lacks(a_run("jr_4", resources=Resources(cpus=1))) == "waits for 1 cpu of this machine"
    assert room.lacks(a_run("jr_4")) == "waits for 0.25 cpus of this machine"
    grows = a_run("jr_5", resources=third, size=1, devices=("1",), processes=Processes(min=1, max=2))
    assert Room(machine, [grows]).could_grow(grows) == 2
    assert Room(Machine(cpus=9.0, memory_mb=0, devices=machine.devices[1:]), [grows]).could_grow(grows) == 1


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (Resources(gpus=1.5), "neither whole ones nor a share"),
        (Resources(gpus=0.5, accelerators=["t4:2"]), "a share is of one device"),
    ],
)
def test_a_share_that_cannot_be_meant_is_refused(written: Resources, words: str) -> None:
    found = wrong(Job(command="x", resources=written), "fit", {})
    assert found is not None and found[0] == "resources" and words in found[1]


def test_an_elastic_run_gets_what_fits_and_a_fixed_one_all_or_nothing() -> None:
    machine = Machine(cpus=2.0, memory_mb=1000)
    other = a_run("jr_0", resources=Resources(cpus=0.5))
    room = Room(machine, [other])
    elastic = a_run("jr_1", resources=Resources(cpus=0.5), processes={"min": 1, "max": 8})
    elastic = rules.msgspec.structs.replace(
        elastic, manifest=rules.msgspec.convert(rules.msgspec.to_builtins(elastic.manifest), JobManifest)
    )
    found = room.fit(elastic)
    assert found is not None and found.size == 3
    assert room.fit(a_run("jr_2", resources=Resources(cpus=0.5), processes=4)) is None
    assert "waits for 2 cpus" in room.lacks(a_run("jr_2", resources=Resources(cpus=0.5), processes=4))
    assert "does not have h100" in room.lacks(a_run("jr_3", resources=Resources(accelerators=["h100"])))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA A100-SXM4-80GB", "a100"), ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "4090"), ("NVIDIA GeForce RTX 3060 Ti", "3060ti"), ("NVIDIA L40S", "l40s"),
        ("Quadro", "gpu"),
    ],
)  # fmt: skip
def test_a_device_has_the_short_name_that_people_use(name: str, kind: str) -> None:
    assert kind_of(name) == kind
    assert accelerator(f"{kind}:2").kind == kind or kind[0].isdigit()
