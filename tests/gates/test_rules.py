"""Gates that the registry alone answers."""

from __future__ import annotations

from typing import Any

import pytest

from bough.gates import rules
from bough.kernel.policy import Gates, MetricGate
from bough.registry.models import Facts, ModelSignature, Version
from bough.runtime.frames import Tensor

X = Tensor(name="x", datatype="FP32", shape=[-1, 4])
Y = Tensor(name="y", datatype="INT64", shape=[-1])


def version(*, size: int = 10, signature: ModelSignature | None = None, **metrics: float) -> Version:
    return Version(
        id="ver", name="churn", number=2, digest="d", files=1, bytes=size, created_at=0, updated_at=0, by="ann",
        environment="main", facts=Facts(metrics=metrics), signature=signature,
    )  # fmt: skip


def judged(gates: Gates, found: Version, champion: Version | None = None) -> dict[str, bool]:
    return {each.gate: each.passed for each in rules.decide(gates, found, champion)}


@pytest.mark.parametrize(
    ("bounds", "value", "champion", "passed"),
    [
        ({"min": 0.8}, 0.8, None, True),
        ({"min": 0.8}, 0.79, None, False),
        ({"max": 0.2}, 0.2, None, True),
        ({"max": 0.2}, 0.21, None, False),
        ({"min": 0.1}, float("nan"), None, False),
        ({"max": 0.1}, float("nan"), None, False),
        ({"worse": 0.01}, 0.89, 0.9, True),
        ({"worse": 0.01}, 0.88, 0.9, False),
        ({"worse": 0.01}, float("nan"), 0.9, False),
        ({"worse": 0.01}, 0.5, None, True),
        ({"worse": 0.1, "higher_is_better": False}, 1.05, 1.0, True),
        ({"worse": 0.1, "higher_is_better": False}, 1.2, 1.0, False),
    ],
)
def test_a_metric_is_held_against_its_bounds(
    bounds: dict[str, Any], value: float, champion: float | None, passed: bool
) -> None:
    gates = Gates(metrics={"m": MetricGate(**bounds)})
    before = version(m=champion) if champion is not None else None
    assert judged(gates, version(m=value), before) == {"metrics.m": passed}


def test_a_metric_that_is_not_there_fails() -> None:
    (found,) = rules.decide(Gates(metrics={"auc": MetricGate(min=0.0)}), version(f1=1.0), None)
    assert not found.passed and found.said == "the version has no metric 'auc'; it has f1"


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ([X], [Y], ""),
        ([Tensor(name="x", datatype="FP32", shape=[-1, 5])], [Y], "input 'x' is FP32[-1, 5], and was FP32[-1, 4]"),
        ([Tensor(name="x", datatype="FP64", shape=[-1, 4])], [Y], "input 'x' is FP64[-1, 4], and was FP32[-1, 4]"),
        ([X, Y], [Y], "input 'y' is new: callers do not send it"),
        ([X], [], "output 'y' is gone"),
        ([X], [Y, X], ""),
        ([Tensor(name="x", datatype="FP32", shape=[-1, -1])], [Y], ""),
    ],
)
def test_a_signature_must_suit_the_callers_of_the_champion(
    inputs: list[Tensor], outputs: list[Tensor], said: str
) -> None:
    champion = version(signature=ModelSignature(inputs=[X], outputs=[Y]))
    candidate = version(signature=ModelSignature(inputs=inputs, outputs=outputs))
    (found,) = rules.decide(Gates(signature=True), candidate, champion)
    assert found.passed == (not said) and said in found.said


def test_a_version_without_a_signature_fails_and_the_first_one_passes() -> None:
    signed = version(signature=ModelSignature(inputs=[X]))
    assert judged(Gates(signature=True), version(), signed) == {"signature": False}
    assert judged(Gates(signature=True), signed, None) == {"signature": True}


def test_size() -> None:
    assert judged(Gates(max_size_mb=1), version(size=1 << 20)) == {"size": True}
    assert judged(Gates(max_size_mb=1), version(size=(1 << 20) + 1)) == {"size": False}
