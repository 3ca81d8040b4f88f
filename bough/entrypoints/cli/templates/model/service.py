from pathlib import Path

import bough
import numpy as np
import skops.io


class Cancer:
    """Benign or malignant, from 30 measurements of cell nuclei (scikit-learn's breast cancer data)."""

    def load(self) -> None:
        """Runs once, before replicas are forked. `python train.py` writes the file."""
        self.model = skops.io.load(Path(__file__).with_name("model.skops"))

    @bough.batch(max_size=64)
    def predict(self, rows: list[list[float]]) -> list[dict[str, float]]:
        """Many requests, one call: one answer for each row."""
        return [{"benign": float(share)} for share in self.model.predict_proba(np.asarray(rows))[:, 1]]
