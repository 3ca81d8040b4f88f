"""Handwritten digits, 8 by 8 pixels: real data that scikit-learn brings along.

`python digits.py` writes train.npz and test.npz, for `bough data put` and `bough optimize quantize`.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images and labels to train on, and to measure on."""
    found = load_digits()
    images = (found.images / 16).astype(np.float32)[:, None]
    train, test, labels, test_labels = train_test_split(
        images, found.target, test_size=0.4, random_state=0, stratify=found.target
    )
    return train, labels, test, test_labels


if __name__ == "__main__":
    train, labels, test, test_labels = split()
    np.savez("train.npz", image=train, digit=labels)
    np.savez("test.npz", image=test, digit=test_labels)
    print(f"train.npz: {len(train)} images, test.npz: {len(test)}")
