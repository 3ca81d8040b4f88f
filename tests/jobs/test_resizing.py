"""How many processes elastic runs have: what they give back to those who wait, and when they grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.accelerators.fake import FakeAccelerators
from bough.adapters.engine.fake import Behaviour
from bough.jobs import rules
from bough.jobs.assembly import this_machine
from bough.jobs.machine import Machine, Room
from bough.jobs.models import QUEUED, RUNNING, STOPPING, JobRun
from bough.jobs.resizing import AGAIN_AFTER_S, CHANGED_AFTER_S, made_room
from bough.jobs.watching import WITHOUT_ONE_S
from bough.kernel.jobs import Processes
from bough.kernel.platform import Platform, PoolSettings
from bough.kernel.workloads import Resources
from tests.jobs.conftest import Jobs
from tests.jobs.test_rules import a_run

FOUR = """name = "lab"
[jobs.fit]
command = "x"
processes = { min = 1, max = 4 }
resources = { gpus = 1, cpus = 0.01 }
%s
[jobs.two]
command = "x"
resources = { gpus = 2, cpus = 0.01 }
%s
[jobs.all]
command = "x"
resources = { gpus = 4, cpus = 0.01 }
"""


@pytest.fixture
def jobs(with_devices: Callable[..., Jobs]) -> Jobs:
    found = with_devices("t4:4")
    found.normally = Behaviour()
    return found


def deploy(jobs: Jobs, fit: str = "", two: str = "") -> None:
    jobs.deploy(FOUR % (fit, two))


def steps(jobs: Jobs, id: str, **said: Any) -> None:
    """It has made steps in its present attempt."""
    at = jobs.run(id).attempt_at + 1.0
    jobs.say(id, **{"step": 5, "made": 5, "step_s": 1.0, "opened_at": at, "began_at": at} | said)


def settled(jobs: Jobs, job: str = "fit", **said: Any) -> str:
    """The id of one that runs with all that there is, and could be changed."""
    made = jobs.ask(job)
    jobs.let_pass(1.0)
    steps(jobs, made.id, **said)
    jobs.let_pass(CHANGED_AFTER_S)
    assert jobs.run(made.id).size == 4
    return str(made.id)


def said(jobs: Jobs, id: str, what: str) -> list[str]:
    return [each.said for each in jobs.call("jobs.show", id=id).timeline if each.what == what]


def test_what_an_elastic_run_has_beyond_its_least_is_given_back_to_who_waits_and_both_say_so(jobs: Jobs) -> None:
    deploy(jobs)
    fit = settled(jobs)
    two = jobs.ask("two")
    jobs.does["fit"] = Behaviour(ignores_term=True)
    jobs.let_pass(1.0)
    assert (jobs.run(fit).size, jobs.run(fit).attempt) == (2, 2), "as many as are needed, and no more"
    assert jobs.run(two.id).state == RUNNING and len(set(jobs.run(fit).devices + jobs.run(two.id).devices)) == 4
    assert jobs.run(fit).spent.total == 0, "it costs nothing of any budget"
    why = f"gives back 2 of its 4 processes to two ({two.id}), which waits for 0.01 cpus, 2 GPUs"
    assert said(jobs, fit, "stopping") == [why] and said(jobs, fit, "queued")[-1] == why


def test_whoever_waits_says_who_makes_room_for_it(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    deploy(jobs)
    fit = settled(jobs)
    two = jobs.ask("two")
    jobs.let_pass(3.0)
    assert (jobs.run(fit).state, jobs.run(two.id).state) == (STOPPING, QUEUED)
    why = f"waits for 0.01 cpus, 2 GPUs of this machine; fit ({fit}) makes room for it at its next save"
    assert jobs.run(two.id).said == why
    assert said(jobs, two.id, "queued").count(why) == 1


def test_a_long_step_may_end_before_a_run_is_killed_for_another_size(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    deploy(jobs, "grace_s = 2")
    fit = settled(jobs, step_s=20.0, save_s=5.0)
    jobs.ask("two")
    jobs.let_pass(60.0)
    assert jobs.run(fit).state == STOPPING, "three times 25 s, not two"
    jobs.let_pass(20.0)
    assert (jobs.run(fit).size, jobs.run(fit).attempt) == (2, 2)


@pytest.mark.parametrize(("save_s", "within_s"), [(0.1, WITHOUT_ONE_S), (4.0, 12.0)])
def test_who_has_lost_one_of_them_on_the_way_to_another_size_has_time_for_a_save_and_no_step(
    jobs: Jobs, save_s: float, within_s: float
) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    deploy(jobs, "grace_s = 100")
    fit = settled(jobs, save_s=save_s)
    jobs.ask("two")
    jobs.let_pass(3.0)
    jobs.engine.crash(jobs.run(fit).unit(1), code=1)
    jobs.let_pass(within_s - 2.0)
    assert (jobs.run(fit).state, jobs.run(fit).attempt) == (STOPPING, 1)
    jobs.let_pass(5.0)
    assert (jobs.run(fit).size, jobs.run(fit).attempt) == (2, 2), "not a hundred seconds later"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"made": 0, "began_at": 0.0}, "it has made no step, and so nothing would be saved"),
        ({"step": 99, "total": 99}, "it is about to be done"),
    ],
)
def test_a_run_that_would_lose_by_it_gives_nothing_back(jobs: Jobs, said: Mapping[str, float], why: str) -> None:
    deploy(jobs)
    fit = settled(jobs, **said)
    two = jobs.ask("two")
    jobs.let_pass(60.0)
    assert (jobs.run(fit).size, jobs.run(fit).attempt, jobs.run(two.id).state) == (4, 1, QUEUED), why


def test_nothing_is_given_back_for_what_could_not_run_beside_it(jobs: Jobs) -> None:
    deploy(jobs)
    fit = settled(jobs)
    jobs.ask("all")
    jobs.let_pass(60.0)
    assert (jobs.run(fit).size, jobs.run(fit).attempt) == (4, 1)


def test_priorities_say_who_gives_back(jobs: Jobs) -> None:
    deploy(jobs, "priority = 5")
    fit = settled(jobs)
    jobs.ask("two")
    jobs.let_pass(60.0)
    assert jobs.run(fit).attempt == 1, "whoever matters less waits"
    deploy(jobs, "priority = 5", "priority = 5")
    jobs.ask("two")
    jobs.let_pass(2.0)
    assert (jobs.run(fit).size, jobs.running()) == (2, ["fit", "fit", "two"])


def test_a_queue_that_has_had_more_than_its_share_gets_nothing_given_back(with_devices: Callable[..., Jobs]) -> None:
    jobs = with_devices("t4:4")
    jobs.does["two"] = Behaviour(exit_after_s=200.0)
    deploy(jobs, two='queue = "other"')
    jobs.ask("two")
    jobs.let_pass(210.0)
    jobs.normally = Behaviour()
    fit = settled(jobs)
    two = jobs.ask("two")
    jobs.let_pass(50.0)
    assert (jobs.run(fit).attempt, jobs.run(two.id).state) == (1, QUEUED), (
        "the other queue has had half of it for 200 s"
    )
    jobs.let_pass(50.0)
    assert (jobs.run(fit).size, jobs.run(two.id).state) == (2, RUNNING), "now this one has had all of it for 100 s"


def test_what_was_given_back_is_not_grown_again_at_once_and_later_each_time(jobs: Jobs) -> None:
    deploy(jobs)
    fit = settled(jobs)
    for waves in (1, 2):
        jobs.does["two"] = Behaviour(exit_after_s=5.0)
        jobs.ask("two")
        jobs.let_pass(10.0)
        assert (jobs.run(fit).size, jobs.run(fit).gave_back) == (2, waves)
        steps(jobs, fit)
        jobs.let_pass(AGAIN_AFTER_S[0] * waves - 60.0)
        assert jobs.run(fit).size == 2
        jobs.let_pass(120.0)
        assert jobs.run(fit).size == 4
        steps(jobs, fit)
        jobs.let_pass(CHANGED_AFTER_S)


def test_a_run_grows_once_it_has_made_a_step_and_only_where_it_gains_more_than_a_start(jobs: Jobs) -> None:
    jobs.does["all"] = Behaviour(exit_after_s=1.0)
    jobs.does["two"] = Behaviour(exit_after_s=4.0)
    deploy(jobs)
    jobs.ask("two")
    jobs.let_pass(1.0)
    fit = jobs.ask("fit").id
    jobs.let_pass(60.0)
    assert jobs.run(fit).size == 2, "there is room, and it has saved nothing"
    steps(jobs, fit, total=7)
    jobs.let_pass(5.0)
    assert jobs.run(fit).size == 2, "2 s are left: half of them is less than the second that a start takes"
    steps(jobs, fit, total=500)
    jobs.let_pass(2.0)
    assert jobs.run(fit).size == 4
    assert said(jobs, fit, "stopping") == ["goes on with 4 processes instead of 2: there is room for them"]


def test_what_starts_together_is_shared_at_once_and_nobody_is_started_twice(jobs: Jobs) -> None:
    deploy(jobs)
    for job in ("two", "fit"):
        jobs.ask(job)
    second = jobs.ask("fit").id
    jobs.let_pass(1.0)
    sizes = {run.job: [] for run in jobs.all()} | {}
    for run in jobs.all():
        sizes[run.job].append((run.size, run.attempt, run.state))
    assert sizes == {"two": [(1, 1, RUNNING)], "fit": [(1, 1, RUNNING), (1, 1, RUNNING)]}
    assert jobs.run(second).state == RUNNING


def test_with_nobody_else_it_starts_with_all_that_there_is(jobs: Jobs) -> None:
    deploy(jobs)
    jobs.ask("all")
    fit = jobs.ask("fit").id
    jobs.let_pass(1.0)
    jobs.call("jobs.cancel", id=next(run.id for run in jobs.all("all")))
    jobs.let_pass(1.0)
    assert (jobs.run(fit).size, jobs.run(fit).attempt) == (4, 1)


def test_its_place_is_kept_while_it_changes(jobs: Jobs) -> None:
    """Three want what one has given back; two of them, and not the one that gave, wait on."""
    deploy(jobs)
    fit = settled(jobs)
    others = [jobs.ask("two").id for _ in range(3)]
    jobs.let_pass(3.0)
    assert [jobs.run(id).state for id in (fit, *others)] == [RUNNING, RUNNING, QUEUED, QUEUED]
    assert jobs.run(fit).size == 2


def test_a_number_that_somebody_asked_for_is_taken_as_far_as_there_is_room_and_nobody_starts_in_circles(
    jobs: Jobs,
) -> None:
    deploy(jobs)
    jobs.ask("two")
    jobs.let_pass(1.0)
    fit = jobs.ask("fit").id
    jobs.let_pass(1.0)
    jobs.call("jobs.resize", id=fit, processes=4)
    jobs.let_pass(40.0)
    assert (jobs.run(fit).size, jobs.run(fit).attempt) == (2, 1)
    jobs.call("jobs.cancel", id=jobs.all("two")[0].id)
    jobs.let_pass(2.0)
    assert (jobs.run(fit).size, jobs.run(fit).attempt) == (4, 2)
    jobs.ask("two")
    steps(jobs, fit)
    jobs.let_pass(60.0)
    assert (jobs.run(fit).size, jobs.run(fit).attempt) == (4, 2), "nobody else changes it"


@pytest.mark.parametrize("budget", [0.001, 1000.0])
def test_a_run_whose_environment_may_begin_nothing_is_not_stopped_for_another_size(
    tmp_path: Path, budget: float
) -> None:
    jobs = Jobs(tmp_path, platform=Platform(pools={"cores": PoolSettings(kind="on-demand", zones={"a": 8.0})}))
    cpus = this_machine().cpus
    jobs.does["before"] = Behaviour(exit_after_s=20.0)
    jobs.normally = Behaviour()
    jobs.deploy(
        'name = "lab"\n[jobs.before]\ncommand = "x"\n[jobs.fit]\ncommand = "x"\nprocesses = { min = 1, max = 4 }\n'
        f'resources = {{ cpus = {cpus / 4} }}\n[jobs.two]\ncommand = "x"\nresources = {{ cpus = {cpus / 2} }}\n'
    )
    jobs.ask("before")
    jobs.let_pass(25.0)
    fit = settled(jobs)
    jobs.call("environments.change", project="lab", branch="main", budget=budget)
    two = jobs.ask("two").id
    jobs.let_pass(60.0)
    reached = budget < 1.0
    assert jobs.run(fit).attempt == (1 if reached else 2), "until then it would have to wait itself"
    assert ("the budget of main" in jobs.run(two).said) is reached


def test_what_asks_for_more_than_the_machine_has_keeps_nobody_out(with_devices: Callable[..., Jobs]) -> None:
    jobs = with_devices()
    jobs.normally = Behaviour()
    jobs.deploy(
        'name = "lab"\n[jobs.huge]\ncommand = "x"\nresources = { memory_mb = 99999999 }\n[jobs.fit]\ncommand = "x"\n'
    )
    jobs.ask("huge")
    jobs.let_pass(100.0)
    fit = jobs.ask("fit").id
    jobs.let_pass(1.0)
    assert jobs.run(fit).state == RUNNING


def test_no_more_is_taken_than_is_needed_and_nobody_goes_below_its_least() -> None:
    machine = Machine(cpus=8.0, memory_mb=1000, devices=tuple(FakeAccelerators("t4:2").devices()))
    one = Resources(cpus=1.0)
    givers = [
        a_run("jr_1", size=3, resources=one, processes=Processes(min=1, max=4)),
        a_run("jr_2", size=4, resources=one, processes=Processes(min=2, max=4)),
    ]

    def room(sizes: Mapping[str, int]) -> Room:
        found = [rules.msgspec.structs.replace(run, size=sizes.get(run.id, run.size)) for run in givers]
        return Room(machine, found)

    def given(cpus: float) -> dict[str, int]:
        return made_room(room, a_run("jr_9", resources=Resources(cpus=cpus)), givers, simulated=False)

    assert given(2.0) == {"jr_1": 2} and given(3.0) == {"jr_1": 1}
    assert given(4.0) == {"jr_1": 1, "jr_2": 3} and given(5.0) == {"jr_1": 1, "jr_2": 2}
    assert given(6.0) == {}, "their least is three"


def test_what_would_not_help_is_not_given_back() -> None:
    """The first has no devices, and those are what is waited for."""
    machine = Machine(cpus=64.0, memory_mb=1000, devices=tuple(FakeAccelerators("t4:2").devices()))
    plain = a_run("jr_1", size=8, resources=Resources(cpus=1.0), processes=Processes(min=1, max=8))
    with_gpu = a_run("jr_2", size=2, devices=("0", "1"), resources=Resources(gpus=1, cpus=0.1),
                     processes=Processes(min=1, max=2))  # fmt: skip

    def room(sizes: Mapping[str, int]) -> Room:
        found = []
        for run in (plain, with_gpu):
            size = sizes.get(run.id, run.size)
            found.append(rules.msgspec.structs.replace(run, size=size, devices=run.devices[:size]))
        return Room(machine, found)

    waiting = a_run("jr_9", resources=Resources(gpus=1, cpus=0.1))
    assert made_room(room, waiting, [plain, with_gpu], simulated=False) == {"jr_2": 1}


def a_queue(name: str, priority: int = 0) -> JobRun:
    return a_run(queue=name, priority=priority)


def test_who_may_take_from_whom() -> None:
    had = {"a": 10.0, "b": 20.0}
    assert rules.may_take(a_queue("a"), a_queue("a"), had) and rules.may_take(a_queue("a", 2), a_queue("a", 1), had)
    assert not rules.may_take(a_queue("a", 1), a_queue("a", 2), had)
    assert rules.may_take(a_queue("a", 0), a_queue("b", 9), had), "priorities are those of one queue"
    assert not rules.may_take(a_queue("b", 9), a_queue("a", 0), had)
