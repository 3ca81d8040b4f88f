"""What a deployment's units amount to."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bough.adapters.engine import ASLEEP as UNIT_ASLEEP
from bough.adapters.engine import EXITED, READY, RUNNING, STARTING, STOPPING, Attempt
from bough.kernel.workloads import Service
from bough.runtime.spec import Exited, Failure
from bough.serving import rules
from bough.serving.models import ASLEEP, DRAINING, FAILED, STOPPED, Deployment
from bough.serving.models import READY as SERVES


def deployment(replicas: int = 2, state: str = SERVES) -> Deployment:
    settings = Service(model="m:M", replicas=replicas)
    return Deployment(
        id="dep_1", project="p", environment="main", service="s", digest="d", bundle="b", settings=settings, release=1,
        state=state, created_at=0.0, changed_at=0.0,
    )  # fmt: skip


def attempt(unit: str, state: str, number: int = 1, failure: Failure | None = None, code: int = 1) -> Attempt:
    gone = Exited(code=code, reason="exited", at=1.0, failure=failure) if state == EXITED else None
    return Attempt(unit=unit, attempt=number, state=state, kind="replica", exit=gone, labels={"service": "s"})


def test_missing_replicas_start_and_surplus_ones_stop() -> None:
    look = rules.look(deployment(2), [attempt("dep_1-0", READY), attempt("dep_1-5", READY, 3)])
    assert look.start == [("dep_1-1", 1)]
    assert look.stop == [("dep_1-5", 3)]
    assert look.ready == 1


def test_an_exited_replica_starts_again_under_the_next_attempt() -> None:
    look = rules.look(deployment(1), [attempt("dep_1-0", EXITED, 4)])
    assert look.start == [("dep_1-0", 5)]
    assert look.failure["code"] == "REPLICA_EXITED"
    assert not look.explained


def test_a_failure_that_explains_itself_is_passed_on_in_its_own_words() -> None:
    failure = Failure(code="LOAD_FAILED", message="no such column", hint="look")
    look = rules.look(deployment(1), [attempt("dep_1-0", EXITED, failure=failure)])
    assert (look.failure["message"], look.explained) == ("no such column", True)


def test_a_draining_deployment_stops_everything_and_forgets_what_has_ended() -> None:
    look = rules.look(deployment(2, DRAINING), [attempt("dep_1-0", READY), attempt("dep_1-1", EXITED)])
    assert (look.start, look.stop, look.forget) == ([], [("dep_1-0", 1)], ["dep_1-1"])


def test_of_a_sleeping_deployment_nothing_is_started_and_what_could_not_be_woken_is_registered() -> None:
    units = [attempt("dep_1-0", UNIT_ASLEEP), attempt("dep_1-1", EXITED), attempt("dep_1-2", STARTING)]
    look = rules.look(deployment(4, ASLEEP), [*units, attempt("dep_1-7", UNIT_ASLEEP, 0)])
    assert (look.start, look.register) == ([], ["dep_1-1", "dep_1-3"])
    assert (look.awake, look.ready) == (1, 0)
    assert look.stop == [("dep_1-7", 0)]


def test_a_sleeping_replica_of_a_deployment_that_is_awake_starts_as_its_next_attempt() -> None:
    look = rules.look(deployment(1), [attempt("dep_1-0", UNIT_ASLEEP, 4)])
    assert (look.start, look.failure) == ([("dep_1-0", 5)], {})


def test_units_of_others_are_left_alone() -> None:
    look = rules.look(deployment(0), [attempt("dep_2-0", READY), attempt("build-abc", EXITED)])
    assert (look.start, look.stop, look.forget) == ([], [], [])


@given(
    st.integers(0, 5),
    st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from([STARTING, RUNNING, READY, STOPPING, EXITED, UNIT_ASLEEP])),
        unique_by=lambda each: each[0],
    ),
)
def test_doing_what_the_look_says_gives_a_look_with_nothing_to_do(replicas: int, units: list[tuple[int, str]]) -> None:
    attempts = [attempt(f"dep_1-{number}", state) for number, state in units]
    look = rules.look(deployment(replicas), attempts)
    stopped = {unit for unit, _ in look.stop} | set(look.forget)
    started = {unit: number for unit, number in look.start}
    after = [each for each in attempts if each.unit not in stopped and each.unit not in started]
    after += [attempt(unit, READY, number) for unit, number in started.items()]
    again = rules.look(deployment(replicas), after)
    assert (again.start, again.stop, again.forget) == ([], [], [])
    assert len(after) == replicas


@given(st.integers(0, 100))
def test_pauses_between_restarts_grow_and_are_bounded(crashes: int) -> None:
    assert 0.0 <= rules.pause_s(crashes) <= rules.pause_s(crashes + 1) <= rules.LONGEST_PAUSE_S


def test_what_ended_before_its_service_began_anew_is_bygone() -> None:
    def made(id: str, state: str, created_at: float, changed_at: float, service: str = "s") -> Deployment:
        return msgspec.structs.replace(
            deployment(1, state), id=id, created_at=created_at, changed_at=changed_at, service=service
        )

    every = [
        made("failed", FAILED, 1.0, 2.0), made("stopped", STOPPED, 1.0, 9.0), made("live", SERVES, 5.0, 6.0),
        made("broken", FAILED, 7.0, 8.0), made("alone", FAILED, 1.0, 2.0, "other"),
    ]  # fmt: skip
    assert rules.bygone(every) == {"failed"}, "the others ended after what runs began, or nothing runs instead"
