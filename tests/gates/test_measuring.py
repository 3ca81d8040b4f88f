"""Figures agree with scikit-learn and SciPy, and say the same twice."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.gates import measuring
from tests.lazily import Lazily

metrics, stats = Lazily("sklearn.metrics"), Lazily("scipy.stats")

BITS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=60)
NUMBERS = st.floats(-1e6, 1e6)


@given(BITS)
def test_scores_of_labels_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, answers = (list(each) for each in zip(*pairs, strict=True))
    assert measuring.accuracy(labels, answers) == pytest.approx(metrics.accuracy_score(labels, answers))
    if 1 in labels:
        assert measuring.f1(labels, answers) == pytest.approx(metrics.f1_score(labels, answers, zero_division=0))


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9])), min_size=2, max_size=60))
def test_auc_is_that_of_scikit_learn(pairs: list[tuple[int, float]]) -> None:
    labels, answers = (list(each) for each in zip(*pairs, strict=True))
    if len(set(labels)) == 2:
        assert measuring.auc(labels, answers) == pytest.approx(metrics.roc_auc_score(labels, answers))
    else:
        assert math.isnan(measuring.auc(labels, answers))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=60))
def test_scores_of_numbers_are_those_of_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    labels, answers = (list(each) for each in zip(*pairs, strict=True))
    assert measuring.mae(labels, answers) == pytest.approx(metrics.mean_absolute_error(labels, answers))
    assert measuring.rmse(labels, answers) == pytest.approx(metrics.root_mean_squared_error(labels, answers))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of its p-value
@given(st.lists(NUMBERS, min_size=1, max_size=50), st.lists(NUMBERS, min_size=1, max_size=50))
def test_ks_is_that_of_scipy(one: list[float], other: list[float]) -> None:
    assert measuring.ks(one, other) == pytest.approx(stats.ks_2samp(one, other, method="asymp").statistic)


def test_psi_tells_drift_from_none() -> None:
    dice = np.random.default_rng(1)
    before = dice.normal(size=5000).tolist()
    assert measuring.psi(before, dice.normal(size=5000).tolist()) < 0.02
    assert measuring.psi(before, dice.normal(0.5, size=5000).tolist()) > 0.2
    assert measuring.psi(["a"] * 50 + ["b"] * 50, ["a"] * 52 + ["b"] * 48) < 0.01
    assert measuring.psi(["a"] * 50 + ["b"] * 50, ["a"] * 90 + ["c"] * 10) > 0.2


def test_the_bootstrap_is_repeatable_paired_and_says_which_way() -> None:
    dice = random.Random(3)
    labels = [dice.randint(0, 1) for _ in range(500)]
    worse = [label if dice.random() < 0.8 else 1 - label for label in labels]
    better = [label if dice.random() < 0.95 else 1 - label for label in labels]
    options = {"rounds": 300, "confidence": 0.95, "seed": 7}
    low, high = measuring.gain("accuracy", labels, better, worse, **options)
    assert 0.08 < low < 0.15 < high < 0.25
    assert (low, high) == measuring.gain("accuracy", labels, better, worse, **options)
    assert measuring.gain("accuracy", labels, better, better, **options) == (0, 0), "the same rows for both"
    wrong = [float(each) + 1 for each in labels]
    low, high = measuring.gain("rmse", labels, labels, wrong, **options)
    assert low > 0.9, "of an error, less is better"


def test_labels_are_the_same_however_a_file_writes_them() -> None:
    assert measuring.accuracy([1, "1", True, "yes", 1.0], [1.0, 1, 1, "yes", "1"]) == 1.0
    assert measuring.accuracy(["no"], ["yes"]) == 0.0
