"""What common scikit-learn estimators come to, worked out directly.

scikit-learn looks at its input anew at every call, starts a pool of threads for every forest, and works out the scores
of a classifier twice, for its labels and for its probabilities. For a few rows all of that takes several times as long
as the arithmetic. Here is the arithmetic alone, in scikit-learn's own order, so that results are equal to the last bit:
whether they are is tried when a model is opened. An estimator that is not among these or fails the trial is asked
itself, and so is any for rows that are not finite, since what it says of those is its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from operator import is_
from typing import Any, Callable, Optional

Array = Any  # numpy.ndarray: numpy is the project's, not Bough's
Step = Callable[[Array], Array]
Answer = tuple[Array, Optional[Array]]  # predictions, and a classifier's probabilities

_TRIAL = ((1, 1.0), (3, 100.0), (64, 10.0))  # rows of its calls, and the spread of the values in them
_REGRESSIONS = {"LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV"}
_MARGINS = {"LinearSVC", "RidgeClassifier", "RidgeClassifierCV", "Perceptron"}
_LOGISTIC = {"LogisticRegression", "LogisticRegressionCV"}
_FORESTS = {"RandomForestClassifier", "ExtraTreesClassifier", "RandomForestRegressor", "ExtraTreesRegressor"}
_TREES = {"DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor"}


class Direct:
    """The arithmetic of one estimator. A call takes float64 rows (n, `width`) and returns None where the estimator
    itself has to be asked."""

    def __init__(self, numpy: Any, estimator: Any, width: int) -> None:
        """Raises LookupError for an estimator that is not among these."""
        self._numpy, self._width, self._estimator = numpy, width, estimator
        *before, last = self._parts()
        self._steps = [step for each in before if each != "passthrough" for step in _scaling(each)]
        self._classes: Array = getattr(last, "classes_", None)
        self._trees = _kind(last) in _FORESTS | _TREES
        self._last = self._find(last)
        self._found = self._rests_on()

    def __call__(self, features: Array) -> Optional[Answer]:
        np = self._numpy
        if features.dtype != np.float64 or features.ndim != 2 or features.shape[1] != self._width:
            return None
        if not all(map(is_, self._rests_on(), self._found)):
            return None  # it has been fitted again, or has other steps
        rows = features
        for step in self._steps:
            rows = step(rows)
        if self._trees:
            with np.errstate(over="ignore"):
                rows = rows.astype(np.float32)
        return self._last(rows) if np.isfinite(rows).all() and np.isfinite(features).all() else None

    # --- private

    def _parts(self) -> list[Any]:
        estimator = self._estimator
        return [step for _, step in estimator.steps] if _kind(estimator) == "Pipeline" else [estimator]

    def _rests_on(self) -> list[Any]:
        """What was looked up once, as it is now; coefficients, means and scales are read at every call."""
        parts = self._parts()
        last = parts[-1]
        trees = getattr(last, "estimators_", None)
        newest = trees[-1] if isinstance(trees, list) and trees else None
        return [*parts, getattr(last, "classes_", None), getattr(last, "tree_", None), trees, newest]

    def _find(self, last: Any) -> Callable[[Array], Answer]:
        kind = _kind(last)
        if kind in _REGRESSIONS:
            return lambda rows: (_scores(last, rows), None)
        if kind in _MARGINS:
            return lambda rows: (self._by_score(_flat(_scores(last, rows))), None)
        if kind in _LOGISTIC:
            expit = import_module("scipy.special").expit
            return lambda rows: self._logistic(_flat(_scores(last, rows)), expit)
        if self._trees and last.n_outputs_ == 1:
            trees = [each.tree_ for each in (last.estimators_ if kind in _FORESTS else [last])]
            return lambda rows: self._voted(trees, rows)
        raise LookupError(kind)

    def _by_score(self, scores: Array) -> Array:
        np = self._numpy
        found = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return self._classes.take(found, axis=0)

    def _logistic(self, scores: Array, expit: Step) -> Answer:
        np = self._numpy
        labels = self._by_score(scores)
        if scores.ndim == 1:
            chance = expit(scores)
            return labels, np.stack([1 - chance, chance], axis=1)
        scores -= scores.max(axis=1).reshape(-1, 1)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1).reshape(-1, 1)
        return labels, scores

    def _voted(self, trees: list[Any], rows: Array) -> Answer:
        first, *others = trees
        found = first.predict(rows)
        for tree in others:
            found += tree.predict(rows)
        if others:
            found /= len(trees)
        if self._classes is None:
            return found[:, 0], None
        return self._classes.take(found.argmax(axis=1), axis=0), found


def find(numpy: Any, estimator: Any, width: int) -> Optional[Direct]:
    """The arithmetic of `estimator`, if it is known here and comes to exactly what the estimator says."""
    try:
        direct = Direct(numpy, estimator, width)
        return direct if _same(numpy, direct, estimator, width) else None
    except Exception:  # whatever is unusual about this estimator or this version of scikit-learn: it is asked itself
        return None


def _same(numpy: Any, direct: Direct, estimator: Any, width: int) -> bool:
    # In this thread: those that a forest starts would outlive the trial, and who has threads cannot be forked.
    with import_module("joblib").parallel_backend("sequential"):
        return all(_agree(numpy, direct, estimator, rows) for rows in _rows(numpy, width))


def _rows(numpy: Any, width: int) -> Iterator[Array]:
    made = numpy.random.default_rng(0)
    for count, spread in _TRIAL:
        yield made.standard_normal((count, width)) * spread


def _agree(numpy: Any, direct: Direct, estimator: Any, rows: Array) -> bool:
    answer = direct(rows)
    if answer is None:
        return False
    labels, chances = answer
    expected = estimator.predict(rows)
    if labels.dtype != expected.dtype or not numpy.array_equal(labels, expected):
        return False
    return chances is None or bool(numpy.array_equal(chances, estimator.predict_proba(rows)))


def is_own(estimator: Any) -> bool:
    """Of a class of scikit-learn's own; what is derived from one may calculate otherwise."""
    return str(type(estimator).__module__).startswith("sklearn.")


def _kind(estimator: Any) -> str:
    return type(estimator).__name__ if is_own(estimator) else ""


def _scaling(scaler: Any) -> list[Step]:
    kind = _kind(scaler)
    if kind == "StandardScaler":
        shift = [lambda rows: rows - scaler.mean_] if scaler.with_mean else []
        return [*shift, lambda rows: rows / scaler.scale_] if scaler.with_std else [*shift]
    if kind == "RobustScaler":
        shift = [lambda rows: rows - scaler.center_] if scaler.with_centering else []
        return [*shift, lambda rows: rows / scaler.scale_] if scaler.with_scaling else [*shift]
    if kind == "MinMaxScaler" and not scaler.clip:
        return [lambda rows: rows * scaler.scale_, lambda rows: rows + scaler.min_]
    if kind == "MaxAbsScaler":
        return [lambda rows: rows / scaler.scale_]
    raise LookupError(kind)


def _scores(linear: Any, rows: Array) -> Array:
    return rows @ linear.coef_.T + linear.intercept_


def _flat(scores: Array) -> Array:
    return scores.reshape(-1) if scores.ndim > 1 and scores.shape[1] == 1 else scores
