"""scikit-learn estimators and pipelines, saved with skops (safe), joblib or pickle (only with `trust = true`).

A row is a list of as many values as the model has features, or an object by feature name where it was fitted on named
columns. A classifier answers `{"label": ..., "probabilities": [...]}` with the probabilities in the order of its
classes; any other estimator the bare value.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from bough.runtime.failures import LoadError
from bough.runtime.frames import Tensor
from bough.runtime.loaders import TensorModel
from bough.runtime.loaders.direct import Answer, find
from bough.runtime.loaders.rows import required
from bough.runtime.schema import datatype_of
from bough.runtime.service import Reject, batch

# Parts of scikit-learn's own estimators that skops does not list as safe but that hold numbers and call nothing: a
# crafted one may crash its replica, it cannot run code. Without them forests and neighbours would all need trust.
_NUMBERS_ONLY = {
    "sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel", "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF", "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree", "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
}  # fmt: skip
MAX_BATCH = 256  # one call's overhead is about a hundred rows' work


def open_model(path: Path, spec: Any) -> TensorModel:
    return Estimator(read(path, trust=spec.trust))


def read(path: Path, *, trust: bool) -> Any:
    """The estimator in `path`; raises `LoadError`."""
    if path.suffix == ".skops":
        return _read_skops(path, trust)
    if not trust:
        raise LoadError(
            "FORMAT_UNTRUSTED", f"{path.name} is a pickle: reading it runs whatever code is in it",
            "save it with skops.io.dump(model, 'model.skops'), or set trust = true if you made the file yourself",
        )  # fmt: skip
    sys.stderr.write(f"warning: {path.name} is a pickle and was read because trust = true; skops files need no trust\n")
    library = required("cloudpickle" if path.suffix == ".cloudpickle" else "joblib", path.name)
    with path.open("rb") as file:
        return library.load(file)


def _read_skops(path: Path, trust: bool) -> Any:
    io = required("skops.io", path.name)
    questioned = list(io.get_untrusted_types(file=path))
    unknown = [name for name in questioned if name not in _NUMBERS_ONLY]
    if unknown and not trust:
        raise LoadError(
            "FORMAT_UNTRUSTED", f"{path.name} holds types that skops does not know as safe: {', '.join(unknown)}",
            "look at them, then set trust = true",
        )  # fmt: skip
    if unknown:
        sys.stderr.write(f"warning: {path.name}: trusted because trust = true: {', '.join(unknown)}\n")
    return io.load(path, trusted=questioned)


class Estimator(TensorModel):
    platform = "sklearn"

    def __init__(self, estimator: Any) -> None:
        self._numpy = required("numpy", "scikit-learn")
        self._estimator = estimator
        self._names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
        self._width = int(getattr(estimator, "n_features_in_", len(self._names) or -1))
        self._frame: Any = None  # pandas.DataFrame where the estimator selects columns by name
        # Plain arrays are several times faster than frames; the names were checked when the row was taken apart.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        self._find_frame()
        self._direct = find(self._numpy, estimator, self._width) if self._frame is None else None
        classes = getattr(estimator, "classes_", None)
        self._classifies = classes is not None and hasattr(estimator, "predict_proba") and not isinstance(classes, list)
        if self._frame is None:
            self.inputs = [Tensor(name="input", datatype="FP64", shape=[-1, self._width])]
        else:
            self.inputs = [Tensor(name=name, datatype="BYTES", shape=[-1]) for name in self._names]
        self.outputs = [Tensor(name="prediction", datatype="FP64", shape=[-1])]
        if classes is not None and not isinstance(classes, list):
            kind = datatype_of(classes.dtype)
            self.outputs = [Tensor(name="label", datatype=kind, shape=[-1])]
            if self._classifies:
                self.outputs.append(Tensor(name="probabilities", datatype="FP64", shape=[-1, len(classes)]))

    @batch(max_size=MAX_BATCH)
    def predict(self, rows: list[Any]) -> list[Any]:
        features = self._features(rows)
        predictions, chances = self._answers(features)
        if chances is None:
            return list(predictions.tolist())
        return [
            {"label": label, "probabilities": chance} for label, chance in zip(predictions.tolist(), chances.tolist())
        ]

    def infer(self, columns: dict[str, Any]) -> dict[str, Any]:
        features = next(iter(columns.values()))
        if self._frame is not None:
            features = self._frame({name: _texts(data) for name, data in columns.items()})
        predictions, chances = self._answers(features)
        answers = {self.outputs[0].name: predictions}
        return answers if chances is None else answers | {"probabilities": chances}

    def _answers(self, features: Any) -> Answer:
        found = self._direct(features) if self._direct is not None else None
        if found is not None:
            return found
        return self._estimator.predict(features), (
            self._estimator.predict_proba(features) if self._classifies else None
        )

    def _features(self, rows: list[Any]) -> Any:
        flat = [self._row(row) for row in rows]
        if self._frame is not None:
            return self._frame(flat, columns=self._names)
        try:
            return self._numpy.array(flat, dtype=float)
        except (ValueError, TypeError) as error:
            raise Reject(f"a row must hold numbers: {error}", status=422, code="INPUT_INVALID", path="$") from error

    def _row(self, row: Any) -> Any:
        if isinstance(row, dict):
            missing = [name for name in self._names if name not in row]
            if missing or not self._names:
                said = (
                    f"features are missing: {', '.join(missing[:5])}"
                    if self._names
                    else "the model knows no names: send a list"
                )
                raise Reject(said, status=422, code="INPUT_INVALID", path="$", expected=", ".join(self._names[:20]))
            return [row[name] for name in self._names]
        if not isinstance(row, list) or (self._width >= 0 and len(row) != self._width):
            found = f"{len(row)} values" if isinstance(row, list) else type(row).__name__
            raise Reject(
                f"Expected a list of {self._width} values, got {found}", status=422, code="INPUT_INVALID", path="$",
                expected=f"array of {self._width}", got=found,
            )  # fmt: skip
        return row

    def _find_frame(self) -> None:
        """Whether the estimator works on plain arrays, tried with one row of zeros; else rows become a DataFrame."""
        if not self._names:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._estimator.predict(self._numpy.zeros((1, self._width)))
        except Exception:  # whatever a pipeline says to unnamed columns: then it wants names
            self._frame = required("pandas", "a pipeline that selects columns by name").DataFrame


def _texts(data: Any) -> Any:
    return [value.decode() if isinstance(value, bytes) else value for value in data.tolist()]
