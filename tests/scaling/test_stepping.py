"""Steps: what somebody wrote down is done, no more often, and taken back."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from bough.kernel.scale import Scale, Step, wrong
from bough.scaling import traces
from bough.scaling.models import Observation
from bough.scaling.policy import Autoscaler
from bough.scaling.simulating import Terms, simulate
from bough.scaling.stepping import Stepped, advance

FEW = Step(signal="queue", reaches=10, add=2)
MANY = Step(signal="queue", reaches=100, add=8)
SCALE = Scale(max=20, steps=(FEW, MANY))


def looked(scale: Scale, *queued: int, active: int = 3, starting: int = 0, before: Stepped | None = None) -> Stepped:
    """One look a second, beginning one second after the last."""
    found, at = before or Stepped(), int(before.reached_at) if before else 0
    for second, count in enumerate(queued, at + 1):
        seen = Observation(at=float(second), arrived=0, queued=count, active=active, starting=starting)
        found = advance(scale, found, seen, 0.0)
    return found


def test_a_step_adds_to_what_is_there_and_to_what_is_starting_once_it_is_reached() -> None:
    assert looked(SCALE, 9).level == 0
    assert looked(SCALE, 10).needs == {"queue>=10": 5.0}
    assert looked(SCALE, 10, starting=4).level == 9


def test_of_steps_that_are_reached_at_once_the_largest_counts_alone() -> None:
    assert looked(SCALE, 100).needs == {"queue>=100": 11.0}


def test_a_step_does_not_add_again_before_its_time_and_a_higher_one_adds_the_difference() -> None:
    once = looked(SCALE, *[20] * 60)
    assert once.level == 5
    assert looked(SCALE, *[20] * 61).level == 7
    higher = looked(SCALE, 20, 200)
    assert (higher.level, higher.needs) == (11, {"queue>=100": 11.0})
    assert looked(SCALE, 200, 20).level == 11, "a lower one takes nothing away"


def test_a_value_must_have_been_there_for_as_long_as_the_step_says() -> None:
    patient = Scale(max=20, steps=(msgspec.structs.replace(FEW, for_s=3.0),))
    assert looked(patient, 10, 10, 10).level == 0
    assert looked(patient, 10, 10, 10, 10).level == 5
    assert looked(patient, 10, 10, 9, 10, 10, 10).level == 0


def test_what_was_added_is_given_back_as_it_came_once_nothing_is_reached_for_the_cooldown() -> None:
    scale = msgspec.structs.replace(SCALE, cooldown=5.0)
    twice = looked(scale, *[20] * 61)
    assert [each.replicas for each in twice.taken] == [2, 2]
    assert looked(scale, *[0] * 4, before=twice).level == 7
    back = looked(scale, *[0] * 5, before=twice)
    assert back.level == 5
    assert looked(scale, *[0] * 5, before=back).level == 0


def test_every_signal_is_measured_in_what_it_is_said_in() -> None:
    seen = Observation(
        at=1.0, arrived=0, active=4, slots=2, in_flight=6.0, queued=7, cpu=0.8, gpu=0.9, latency_s=0.5
    )  # fmt: skip
    limits = {"load": 0.5, "in_flight": 0.75, "queue": 7, "cpu": 0.8, "gpu": 0.9, "latency": 0.5}
    for signal, value in limits.items():
        for reaches, wanted in ((value, 5), (value * 1.01, 0)):
            scale = Scale(max=9, steps=(msgspec.convert({"signal": signal, "reaches": reaches, "add": 1}, Step),))
            assert advance(scale, Stepped(), seen, load=2.0).level == wanted, signal


@given(some.lists(some.integers(0, 300), max_size=400), some.integers(1, 30), some.integers(0, 40))
def test_steps_never_ask_for_more_than_the_bound_nor_for_less_than_what_is_there(
    queued: list[int], most: int, active: int
) -> None:
    scale = Scale(max=most, steps=SCALE.steps, cooldown=10.0)
    found = Stepped()
    for second, count in enumerate(queued):
        before = found
        found = advance(scale, found, Observation(at=float(second), arrived=0, queued=count, active=active), 0.0)
        assert found.level <= most
        assert found.level >= before.level or count < FEW.reaches, "nothing is given back while a step is reached"
        assert not found.taken or found.base == before.base or not before.taken


def test_steps_that_contradict_each_other_or_have_no_bound_are_refused() -> None:
    assert wrong(SCALE) is None
    contrary = Scale(max=9, steps=(msgspec.structs.replace(MANY, add=2), FEW))
    for scale, said in (Scale(steps=(FEW,)), "max"), (contrary, "queue>=100 must add more than queue>=10"):
        found = wrong(scale)
        assert found is not None and found[0] == "steps" and said in found[1]


def test_steps_alone_are_a_policy_and_decisions_name_the_step() -> None:
    """Ten requests of a second each in a second, then none: replicas grow by steps of load, and are given back."""
    steps = (Step(signal="load", reaches=0.7, add=1), Step(signal="load", reaches=1.5, add=4))
    scale = Scale(max=30, signals=(), warm=0, cooldown=60.0, steps=steps)
    trace = traces.of_counts("busy", [10] * 600 + [0] * 900, service_s=1.0)
    found = simulate(trace, Autoscaler(scale), Terms(first=1))
    most = max(active for active, _, _ in found.curve)
    assert 10 / 0.7 <= most < 10 / 0.7 + 5, "it stops where seven tenths of them are busy"
    assert found.curve[-1][0] == 1
    assert {each.why for each in found.changes} == {"load>=1.5", "load>=0.7", "bound"}
    assert all(each.needs[each.why] == each.active for each in found.changes if each.why != "bound")


def test_beside_the_rule_the_largest_need_wins() -> None:
    """The rule would have one replica answer so little: a latency that somebody finds too long adds others."""
    trace = traces.of_counts("slow", [1] * 300, service_s=0.3)
    alone = simulate(trace, Autoscaler(Scale(max=9, warm=0)), Terms(first=1))
    hasty = Scale(max=9, warm=0, steps=(Step(signal="latency", reaches=0.3, add=3, again_s=600),))
    both = simulate(trace, Autoscaler(hasty), Terms(first=1))
    assert max(each[0] for each in both.curve) >= max(4, max(each[0] for each in alone.curve))
    assert "latency>=0.3" in {each.why for each in both.changes}
