"""Loaders: a model file becomes something that answers, without a class written by the user.

One file per format. A loader's `open` reads a path and returns a `TensorModel` (or, for safetensors, whatever object
the project's own function makes). Promises: nothing is read by a format that can run code (pickle, joblib) unless the
project says `trust = true`; no library is imported that the format does not need; a missing one is named together with
the line to add to requirements.txt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from bough.runtime.frames import Tensor


class TensorModel(ABC):
    """A model that knows its tensors. A row (one item of `predict`) is the value of its only input, or an object by
    input name; so is the answer."""

    platform: str
    runs_code = False  # of whoever made the file, so that a call may do more than calculate
    inputs: list[Tensor]
    outputs: list[Tensor]

    @abstractmethod
    def predict(self, rows: list[Any]) -> list[Any]:
        """One answer for each row. Marked with `batch` by every implementation."""

    @abstractmethod
    def infer(self, columns: dict[str, Any]) -> dict[str, Any]:
        """Arrays by input name to arrays by output name; the first dimension of all counts the rows."""
