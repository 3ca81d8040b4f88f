"""scikit-learn's estimators as a service's own code asks them, answered many times sooner for a few rows.

An estimator whose answers can be worked out directly (`loaders/direct.py`) becomes one of a class derived from its own,
which does so. It is the same object with the same attributes, and copies of it, pickled ones too, are of its own class.
"""

from __future__ import annotations

import functools
import gc
import sys
import warnings
from importlib import import_module
from typing import Any, Optional

from bough.runtime.loaders.direct import Answer, find, is_own

_DIRECT = "_bough_direct"  # the attribute in which an estimator has its arithmetic


def direct(estimator: Any) -> Any:
    """`estimator`, which from now on works `predict` and `predict_proba` out directly, equal to the last bit.

        self.model = bough.direct(skops.io.load("model.skops"))

    For arrays of float64, shape (n, features), and a fitted linear or logistic regression, tree or forest of
    scikit-learn's own, also in a pipeline after a scaler. Other input, and what is fitted again, is scikit-learn's as
    ever. An estimator that is not among these, or whose results differ in a trial of 68 rows, stays as it is. Services
    do this by themselves with all that `load` has made, unless they say `direct = false`.
    """
    width = getattr(estimator, "n_features_in_", 0)
    if not width or _is_direct(estimator):
        return estimator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the trial's rows have no names, as those of a fitted table had
        found = find(import_module("numpy"), estimator, width)
    if found is not None:
        setattr(estimator, _DIRECT, found)
        kind: Any = type(estimator)
        estimator.__class__ = _derived(kind, hasattr(estimator, "predict_proba"))
    return estimator


def all_direct() -> list[Any]:
    """`direct` for every estimator of scikit-learn's own that this program holds, but for the members of another one;
    those for which that did something. Nothing is imported, so without scikit-learn there is nothing to do."""
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    held = [each for each in gc.get_objects() if base in type(each).__mro__ and is_own(each)]
    members = {id(member) for each in held for member in _members(each)}
    return [each for each in held if id(each) not in members and not _is_direct(each) and _is_direct(direct(each))]


def _is_direct(estimator: Any) -> bool:
    return _DIRECT in vars(estimator)


def _members(estimator: Any) -> list[Any]:
    """Of an ensemble: a list, or an array of any shape."""
    found = vars(estimator).get("estimators_")
    if isinstance(found, list):
        return found
    return found.ravel().tolist() if hasattr(found, "ravel") else []


@functools.cache
def _derived(kind: Any, has_chances: bool) -> Any:
    def answer(self: Any, X: Any, others: dict[str, Any]) -> Optional[Answer]:
        arithmetic = vars(self).get(_DIRECT)  # a clone has none
        return None if others or arithmetic is None or type(X) is not array else arithmetic(X)

    @functools.wraps(kind.predict)
    def predict(self: Any, X: Any, **others: Any) -> Any:
        found = answer(self, X, others)
        return super(derived, self).predict(X, **others) if found is None else found[0]

    def predict_proba(self: Any, X: Any, **others: Any) -> Any:
        found = answer(self, X, others)
        return super(derived, self).predict_proba(X, **others) if found is None else found[1]

    def __getstate__(self: Any) -> dict[str, Any]:
        return {name: value for name, value in super(derived, self).__getstate__().items() if name != _DIRECT}

    def __reduce_ex__(self: Any, protocol: Any) -> Any:  # pickle asks for an object of the very class
        return object.__new__, (kind,), self.__getstate__()

    array = import_module("numpy").ndarray
    inside: dict[str, Any] = {
        **{"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__},
        **{"__getstate__": __getstate__, "__reduce_ex__": __reduce_ex__, "predict": predict},
        **({"predict_proba": functools.wraps(kind.predict_proba)(predict_proba)} if has_chances else {}),
    }
    derived = type(kind)(kind.__name__, (kind,), inside)
    return derived
