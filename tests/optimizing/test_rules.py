"""Which contender is registered."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from bough.kernel.errors import Invalid
from bough.optimizing import rules, weighing
from bough.optimizing.models import Contender, Judging

JUDGING = Judging(data="d/x.csv", max_loss=0.02)
BEFORE = Contender(name="before", score=0.95, bytes=1000, p50_ms=1.0, p95_ms=2.0, core_s=1.0)


def contender(name: str = "dynamic", **fields: Any) -> Contender:
    return msgspec.structs.replace(BEFORE, name=name, bytes=300, **fields)


def test_the_end_of_the_interval_decides_not_the_point() -> None:
    labels = [0, 1] * 50
    mine = [1 - labels[0], *labels[1:]]
    loss, worst = rules.judged(JUDGING, labels, mine, labels)
    assert loss == pytest.approx(0.01) and worst > 0.02
    assert not rules.gated(JUDGING, BEFORE, contender(loss=loss, worst=worst)).passed
    labels, mine = labels * 50, labels * 49 + mine + labels * 0
    loss, worst = rules.judged(JUDGING, labels, mine, labels)
    assert loss < 0.001 and rules.gated(JUDGING, BEFORE, contender(loss=loss, worst=worst)).passed


def test_of_a_metric_that_should_be_low_more_is_a_loss() -> None:
    judging = msgspec.structs.replace(JUDGING, metric="rmse")
    labels = [float(each) for each in range(100)]
    loss, worst = rules.judged(judging, labels, [each + 0.5 for each in labels], labels)
    assert (loss, worst) == (0.5, 0.5)


def test_what_cannot_be_compared_does_not_pass() -> None:
    assert not rules.gated(JUDGING, BEFORE, contender(worst=math.nan)).passed


def test_what_is_neither_smaller_nor_faster_does_not_pass() -> None:
    same = msgspec.structs.replace(BEFORE, name="dynamic", bytes=990, core_s=0.99)
    assert rules.gated(JUDGING, BEFORE, same).said == "neither smaller nor faster than before"
    assert rules.gated(JUDGING, BEFORE, msgspec.structs.replace(same, bytes=300)).passed
    assert rules.gated(JUDGING, BEFORE, msgspec.structs.replace(same, core_s=0.5)).passed


def test_of_those_that_pass_the_one_that_needs_least_of_a_core_is_chosen() -> None:
    slow, fast = contender("dynamic", core_s=0.9), contender("static", core_s=0.4)
    assert rules.choose([BEFORE, slow, fast]) == fast
    assert rules.choose([BEFORE, slow, msgspec.structs.replace(fast, passed=False)]) == slow
    assert rules.choose([BEFORE]) is None


def test_nobody_invents_what_a_core_costs() -> None:
    assert rules.cost(3.6, 0.0) == -1.0
    assert rules.cost(3.6, 1.0) == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("value", "metric", "key", "found"),
    [
        ([0.1, 0.7, 0.2], "accuracy", "", 1),
        ([0.1, 0.9], "auc", "", 0.9),
        ([[0.5]], "rmse", "", 0.5),
        ({"scores": [0.9, 0.1]}, "accuracy", "", 0),
        ({"label": "b", "probabilities": [0.1, 0.9]}, "accuracy", "label", "b"),
        ({"label": "b", "probabilities": [0.1, 0.9]}, "auc", "probabilities.1", 0.9),
        (7, "accuracy", "", 7),
    ],
)
def test_what_is_compared_of_an_answer(value: Any, metric: Any, key: str, found: Any) -> None:
    assert weighing.answer(value, metric, key) == found


@pytest.mark.parametrize(
    ("value", "metric", "key"),
    [({"a": 1, "b": 2}, "accuracy", ""), ([[1, 2], [3, 4]], "accuracy", ""), ([1.0, 2.0], "mae", ""), (1, "f1", "x")],
)
def test_an_answer_that_may_mean_several_things_is_refused(value: Any, metric: Any, key: str) -> None:
    with pytest.raises(Invalid) as refused:
        weighing.answer(value, metric, key)
    assert refused.value.own_code == "ANSWER_UNCLEAR"


def test_of_a_student_it_is_said_that_it_is_one_and_of_a_way_which() -> None:
    measured: dict[str, Any] = {"score": 0.9, "bytes": 1, "p50_ms": 1.0, "p95_ms": 1.0, "core_s": 1.0}
    refused = [Contender(name=name, said="may lose 0.1", **measured) for name in ("after", "static")]
    assert rules.summary(refused, None) == "the student may lose 0.1; static may lose 0.1"
    assert [rules.summary(refused, each) for each in refused] == ["may lose 0.1", "static: may lose 0.1"]
