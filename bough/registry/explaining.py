"""Which inputs a prediction came from, of any tabular model, by calling it: permutation importances over many rows
(scikit-learn), and Shapley values of single ones (shap). No model code runs here: `predict` is usually an endpoint.

Needs the extra `explain`: pip install 'bough[explain]'.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from bough.kernel.errors import Invalid, Unavailable

Predict = Callable[[list[list[Any]]], list[Any]]
"""One answer for each row: a number, a label, or {"label", "probabilities"}."""

SCORES = ("accuracy", "r2")
MOST_ROWS = 10_000


class Importance(msgspec.Struct, frozen=True, kw_only=True):
    """How much worse the score is when the column is shuffled; `spread` is the deviation over the repeats."""

    input: str
    mean: float
    spread: float


class Importances(msgspec.Struct, frozen=True, kw_only=True):
    method: str
    score: str
    baseline: float
    rows: int
    importances: list[Importance]  # the most important first


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """`base` and all of `values` add up to what the model answered."""

    row: int
    base: float
    answer: float
    values: dict[str, float]


def importances(
    predict: Predict, rows: Sequence[Sequence[Any]], targets: Sequence[Any], names: Sequence[str], *, repeats: int = 5,
    seed: int = 0,
) -> Importances:  # fmt: skip
    """Over rows whose right answers are known. Raises `Invalid` (EXPLAIN_DATA_INVALID), `Unavailable`
    (EXPLAIN_LIBRARY_MISSING)."""
    _check(rows, names)
    inspection, numpy = _library("sklearn.inspection"), _library("numpy")
    is_label = not all(isinstance(each, int | float) and not isinstance(each, bool) for each in targets)
    answered = predict([list(row) for row in rows])
    by_label = is_label or all(isinstance(each, dict) and not _is_named_number(each) for each in answered)
    score = SCORES[0] if by_label else SCORES[1]
    truth = numpy.asarray([str(each) for each in targets] if by_label else targets)

    def scored(_model: Any, given: Any, expected: Any) -> float:
        answers = predict(given.tolist())
        if by_label:
            return float(numpy.mean([_label(each) == want for each, want in zip(answers, expected, strict=True)]))
        return float(_library("sklearn.metrics").r2_score(expected, [_number(each) for each in answers]))

    table = numpy.asarray([list(row) for row in rows], dtype=object)
    found = inspection.permutation_importance(
        _Fitted(), table, truth, scoring=scored, n_repeats=repeats, random_state=seed
    )
    listed = [
        Importance(input=name, mean=float(mean), spread=float(spread))
        for name, mean, spread in zip(names, found.importances_mean, found.importances_std, strict=True)
    ]
    listed.sort(key=lambda each: -each.mean)
    return Importances(
        method="permutation", score=score, baseline=scored(None, table, truth), rows=len(rows), importances=listed
    )


def attributions(
    predict: Predict, rows: Sequence[Sequence[float]], background: Sequence[Sequence[float]], names: Sequence[str],
    *, output: int = -1, seed: int = 0,
) -> list[Attribution]:  # fmt: skip
    """Shapley values of each row against `background`. `output`: which probability, of a classifier."""
    for each in (rows, background):
        _check(each, names)
        _check_numbers(each, names)
    shap, numpy = _library("shap"), _library("numpy")

    known: dict[tuple[float, ...], float] = {}  # with few inputs the same rows are asked for again and again

    def answered(given: Any) -> Any:
        asked = [tuple(row) for row in given.tolist()]
        new = [row for row in dict.fromkeys(asked) if row not in known]
        known.update(zip(new, (_number(each, output) for each in predict([list(row) for row in new])), strict=True))
        return numpy.asarray([known[row] for row in asked], dtype=float)

    masker = shap.maskers.Independent(numpy.asarray(background, dtype=float), max_samples=100)
    explainer = shap.PermutationExplainer(answered, masker, seed=seed)
    given = numpy.asarray(rows, dtype=float)
    found = explainer(given, max_evals=max(500, 2 * len(names) + 1) * 2, silent=True)
    answers = answered(given)
    return [
        Attribution(
            row=at, base=float(numpy.ravel(found.base_values)[at]), answer=float(answers[at]),
            values={name: float(value) for name, value in zip(names, found.values[at], strict=True)},
        )
        for at in range(len(rows))
    ]  # fmt: skip


class _Fitted:
    """What scikit-learn wants to see of an estimator; it is never asked, for the score asks `predict`."""

    def fit(self, *_: Any) -> _Fitted:
        return self


def _check_numbers(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> None:
    for row in rows:
        for name, value in zip(names, row, strict=True):
            if isinstance(value, str):
                raise Invalid(
                    f"Shapley values are of numbers, and the column {name} has {value!r}",
                    code="EXPLAIN_DATA_INVALID", hint="leave that column out; --target names the one with the answers",
                )  # fmt: skip


def _check(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> None:
    if not rows or len(rows) > MOST_ROWS or any(len(row) != len(names) for row in rows):
        raise Invalid(
            f"rows to explain with must be 1 to {MOST_ROWS:,}, each with the {len(names)} inputs",
            code="EXPLAIN_DATA_INVALID", hint="a CSV file with a heading; --target names the column with answers",
        )  # fmt: skip


def _label(answer: Any) -> str:
    if isinstance(answer, dict) and "label" not in answer:
        raise _no_number(answer)
    return str(answer["label"] if isinstance(answer, dict) else answer)


def _number(answer: Any, output: int = -1) -> float:
    """The number that is explained: a probability of a classifier, else the answer itself."""
    if isinstance(answer, dict) and "probabilities" in answer:
        return float(answer["probabilities"][output])
    if _is_named_number(answer):
        return float(next(iter(answer.values())))
    if isinstance(answer, int | float):
        return float(answer)
    raise _no_number(answer)


def _is_named_number(answer: Any) -> bool:
    """Such as `{"price": 3.5}`."""
    return isinstance(answer, dict) and len(answer) == 1 and isinstance(next(iter(answer.values())), int | float)


def _no_number(answer: Any) -> Invalid:
    return Invalid(
        f"an answer such as {str(answer)[:80]!r} is no number that could be explained",
        code="EXPLAIN_ANSWER_INVALID", hint="explain a model that answers numbers, or labels with probabilities",
    )  # fmt: skip


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"explanations need {error.name}", code="EXPLAIN_LIBRARY_MISSING", hint="pip install 'bough[explain]'"
        ) from error
