"""Estimators worked out directly: equal to scikit-learn to the last bit, or scikit-learn is asked."""

from __future__ import annotations

import pickle
import threading
import warnings
from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any

import numpy as np
import pandas
import pytest
from sklearn import ensemble, linear_model, preprocessing, svm, tree
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

import bough
from bough.runtime.estimators import all_direct
from bough.runtime.loaders.direct import find
from bough.runtime.loaders.sklearn import Estimator

TWO, THREE, VALUES = (load(return_X_y=True) for load in (load_breast_cancer, load_iris, load_diabetes))
NAMED = (THREE[0], np.array(["setosa", "versicolor", "virginica"])[THREE[1]])
KNOWN = [
    (linear_model.LogisticRegression(), TWO),
    (linear_model.LogisticRegression(), NAMED),
    (linear_model.Perceptron(), THREE),
    (linear_model.RidgeClassifier(), TWO),
    (svm.LinearSVC(), THREE),
    (linear_model.LinearRegression(), VALUES),
    (linear_model.LinearRegression(), (VALUES[0], np.stack([VALUES[1], -VALUES[1]], axis=1))),
    (linear_model.Lasso(), VALUES),
    (ensemble.RandomForestClassifier(12, random_state=0), NAMED),
    (ensemble.ExtraTreesRegressor(12, random_state=0), VALUES),
    (tree.DecisionTreeClassifier(random_state=0), TWO),
    (tree.DecisionTreeRegressor(random_state=0), VALUES),
    (make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()), TWO),
    (make_pipeline(preprocessing.StandardScaler(with_mean=False), linear_model.Ridge()), VALUES),
    (make_pipeline(preprocessing.MinMaxScaler(), "passthrough", linear_model.LogisticRegression()), NAMED),
    (make_pipeline(preprocessing.RobustScaler(), linear_model.Ridge()), VALUES),
    (make_pipeline(preprocessing.MaxAbsScaler(), tree.DecisionTreeClassifier(random_state=0)), THREE),
]


class Doubting(linear_model.LogisticRegression):
    """Calculates otherwise than what it is derived from."""

    def predict_proba(self, X: Any) -> Any:
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def fitted(estimator: Any, data: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they need not converge
        return estimator.fit(*data)


@pytest.mark.parametrize("estimator,data", KNOWN, ids=[str(each)[:60] for each, _ in KNOWN])
def test_it_is_what_the_estimator_says(estimator: Any, data: Any) -> None:
    model, rows = fitted(clone(estimator), data), data[0]
    direct = find(np, model, rows.shape[1])
    assert direct is not None
    for few in (rows[:1], rows[3:8], rows):
        answer = direct(few)
        assert answer is not None
        predictions, chances = answer
        expected = model.predict(few)
        assert predictions.dtype == expected.dtype and np.array_equal(predictions, expected)
        assert (chances is not None) == hasattr(model, "predict_proba")
        assert chances is None or np.array_equal(chances, model.predict_proba(few))


@pytest.mark.parametrize(
    "estimator,data",
    [
        (ensemble.GradientBoostingClassifier(n_estimators=2), THREE),
        (make_pipeline(preprocessing.PolynomialFeatures(), linear_model.LinearRegression()), VALUES),
        (make_pipeline(preprocessing.MinMaxScaler(clip=True), linear_model.Ridge()), VALUES),
        (tree.DecisionTreeClassifier(), (THREE[0], np.stack([THREE[1], THREE[1]], axis=1))),
        (Doubting(), THREE),
    ],
    ids=["boosting", "polynomials", "clipped", "two outputs", "derived"],
)
def test_others_are_asked_themselves(estimator: Any, data: Any) -> None:
    assert find(np, fitted(estimator, data), data[0].shape[1]) is None


def test_one_whose_results_differ_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(linear_model.LogisticRegression(), THREE)
    monkeypatch.setattr(linear_model.LogisticRegression, "predict_proba", Doubting.predict_proba)
    assert find(np, model, 4) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_of_what_is_not_finite_the_estimator_says_what_it_always_does(value: float) -> None:
    """A forest calculates in float32, for which 1e300 is too large."""
    forest = fitted(ensemble.RandomForestClassifier(3, random_state=0), THREE)
    rows = THREE[0][:2].copy()
    rows[1, 2] = value
    model = Estimator(forest)
    if np.isnan(value):
        assert np.array_equal(model.infer({"input": rows})["label"], forest.predict(rows))
        return
    with np.errstate(over="ignore"):
        with pytest.raises(ValueError) as ours:
            model.infer({"input": rows})
        with pytest.raises(ValueError) as theirs:
            forest.predict(rows)
    assert str(ours.value) == str(theirs.value)


def test_float32_and_other_widths_go_to_the_estimator() -> None:
    direct = find(np, fitted(linear_model.LogisticRegression(), THREE), 4)
    assert direct is not None
    assert direct(THREE[0].astype("f4")) is None and direct(THREE[0][:, :3]) is None and direct(THREE[0][0]) is None


def test_a_program_asks_as_it_asked_the_estimator() -> None:
    model = fitted(make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()), NAMED)
    rows, said = THREE[0], str(model)
    labels, chances = model.predict(rows), model.predict_proba(rows)
    assert bough.direct(model) is model and bough.direct(model) is model
    assert np.array_equal(model.predict(X=rows), labels) and np.array_equal(model.predict_proba(rows), chances)
    assert isinstance(model, Pipeline) and str(model) == said and model.score(*NAMED) > 0.9
    check_is_fitted(model)


@pytest.mark.parametrize("copied", [lambda each: pickle.loads(pickle.dumps(each)), copy, deepcopy])
def test_copies_are_of_the_estimators_own_class(copied: Callable[[Any], Any]) -> None:
    model = bough.direct(fitted(linear_model.LogisticRegression(), TWO))
    again = copied(model)
    assert type(again) is linear_model.LogisticRegression is not type(model)
    assert np.array_equal(again.predict_proba(TWO[0][:5]), model.predict_proba(TWO[0][:5]))
    fitted(again, THREE)
    assert again.predict_proba(THREE[0]).shape == (150, 3) and model.predict_proba(TWO[0]).shape == (569, 2)


@pytest.mark.parametrize("estimator,data", KNOWN, ids=[str(each)[:60] for each, _ in KNOWN])
def test_what_is_fitted_again_is_scikit_learns(estimator: Any, data: Any) -> None:
    rows, results = data
    model = bough.direct(fitted(clone(estimator), data))
    again = (rows[::2], results[::2])
    expected = fitted(clone(estimator), again)
    assert np.array_equal(fitted(model, again).predict(rows), expected.predict(rows))
    assert np.array_equal(fitted(clone(model), again).predict(rows), expected.predict(rows))


def test_a_pipeline_with_another_step_is_scikit_learns() -> None:
    model = bough.direct(fitted(make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()), VALUES))
    model.steps[0] = ("standardscaler", "passthrough")
    assert np.array_equal(model.predict(VALUES[0]), model[-1].predict(VALUES[0]))


def test_the_estimator_is_not_asked_for_rows_that_are_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = bough.direct(fitted(ensemble.RandomForestClassifier(3, random_state=0), THREE))
    asked: list[Any] = []
    monkeypatch.setattr(ensemble.RandomForestClassifier, "predict", lambda _, rows: asked.append(rows))
    monkeypatch.setattr(ensemble.RandomForestClassifier, "predict_proba", lambda _, rows: asked.append(rows))
    assert quick.predict(THREE[0]).shape == (150,) and quick.predict_proba(THREE[0]).shape == (150, 3)
    assert not asked
    listed = THREE[0][:2].tolist()
    quick.predict(listed), quick.predict_proba(listed)
    assert asked == [listed, listed]


def test_all_that_a_program_holds_but_members_of_others() -> None:
    alone = fitted(linear_model.Ridge(), VALUES)
    forest = fitted(ensemble.RandomForestClassifier(3, random_state=0), THREE)
    boosted = fitted(ensemble.GradientBoostingClassifier(n_estimators=2), THREE)

    def inside(row: Any, held: Any = alone) -> Any:
        return held.predict(row)

    found = {id(each) for each in all_direct()}
    assert {id(alone), id(forest)} <= found and id(boosted) not in found
    assert found.isdisjoint(map(id, [*forest.estimators_, *boosted.estimators_.ravel()]))
    assert id(alone) not in {id(each) for each in all_direct()}  # it is already
    assert np.array_equal(inside(VALUES[0]), VALUES[0] @ alone.coef_ + alone.intercept_)


def test_what_others_have_derived_is_not_even_looked_at() -> None:
    class Odd(linear_model.LogisticRegression):
        estimators_ = None

        @property
        def n_features_in_(self) -> int:
            raise RuntimeError("asked")

    odd, unfitted = Odd(), ensemble.RandomForestClassifier()
    unfitted.estimators_ = None
    found = {id(each) for each in all_direct()}
    assert found.isdisjoint({id(odd), id(unfitted)})


def test_a_trial_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    model = fitted(ensemble.RandomForestClassifier(20, n_jobs=2, random_state=0), THREE)
    monkeypatch.setattr(threading.Thread, "start", begun.append)
    bough.direct(model)
    assert not begun and type(model) is not ensemble.RandomForestClassifier


def test_a_table_is_the_estimators_own_and_its_names_are_looked_at() -> None:
    table = pandas.DataFrame(THREE[0], columns=list("abcd"))
    quick = bough.direct(fitted(linear_model.LogisticRegression(), (table, THREE[1])))
    assert np.array_equal(quick.predict_proba(table), quick.predict_proba(THREE[0]))
    with pytest.raises(ValueError, match="feature names"):
        quick.predict(table[list("dcba")])


def test_a_regression_has_no_probabilities_and_what_is_unknown_stays_as_it_is() -> None:
    assert not hasattr(bough.direct(fitted(linear_model.Ridge(), VALUES)), "predict_proba")
    boosted = fitted(ensemble.GradientBoostingClassifier(n_estimators=2), THREE)
    assert bough.direct(boosted) is boosted
    assert bough.direct(linear := linear_model.Ridge()) is linear  # it has not been fitted
