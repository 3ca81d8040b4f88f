"""Trains the model that service.py serves: python train.py"""

from pathlib import Path

import skops.io
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train(path: Path) -> None:
    data = load_breast_cancer()
    rows, held_out, labels, held_out_labels = train_test_split(data.data, data.target, test_size=0.25, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, labels)
    print(f"accuracy on {len(held_out)} held-out rows: {model.score(held_out, held_out_labels):.3f}")
    skops.io.dump(model, path)


if __name__ == "__main__":
    train(Path("model.skops"))
