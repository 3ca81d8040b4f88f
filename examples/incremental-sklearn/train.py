"""A linear model that learns batch by batch (`partial_fit`): data that does not fit into memory, or never ends.

The data are real: 569 samples of tumours, benign or malignant, which scikit-learn brings along. The model is written
as skops, which any service of Bough opens without code.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import bough
from bough import checkpoint


def main() -> None:
    chosen = bough.params(epochs=20, alpha=0.0005, batch=32)
    values, labels = load_breast_cancer(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        values, labels, test_size=0.3, random_state=0, stratify=labels
    )
    scaler, model = StandardScaler(), SGDClassifier(loss="log_loss", alpha=chosen["alpha"], random_state=0)
    data = checkpoint.Samples(len(train), batch_size=int(chosen["batch"]), seed=0, epochs=int(chosen["epochs"]))
    state = {"scaler": scaler, "model": model, "data": data}
    total = data.batches_per_epoch * data.epochs

    ckpt = checkpoint.open(total=total).every("auto")
    step = ckpt.restore(state).step
    with reported() as run:
        for rows in data:
            state["scaler"].partial_fit(train[rows])
            state["model"].partial_fit(state["scaler"].transform(train[rows]), train_labels[rows], classes=[0, 1])
            step += 1
            ckpt.save(step, state)
            if ckpt.should_stop():
                return
        made = Pipeline([("scaler", state["scaler"]), ("model", state["model"])])
        found = {
            "auc": float(roc_auc_score(test_labels, made.predict_proba(test)[:, 1])),
            "accuracy": float(np.mean(made.predict(test) == test_labels)),
        }
        run.log_metrics(found, step=step)
        print(" ".join(f"{name} {value:.4f}" for name, value in found.items()))
        folder = Path(os.environ.get("BOUGH_OUTPUT", "output"))
        folder.mkdir(parents=True, exist_ok=True)
        skops.io.dump(made, folder / "model.skops")
    ckpt.done(state)


class Printed:
    """In place of a run, where nobody keeps one."""

    def log_metrics(self, metrics: dict[str, float], *, step: int = 0) -> None:
        print(step, metrics)


def reported() -> Any:
    """The run that Bough keeps of this job; outside of one, the terminal."""
    return bough.run() if "BOUGH_RUN" in os.environ else contextlib.nullcontext(Printed())


if __name__ == "__main__":
    main()
