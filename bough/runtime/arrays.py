"""numpy, where it is there: everything that touches arrays asks here, and nothing imports numpy on its own.

numpy is the user's: it is used when their code (or a loader) has imported it, or when tensors come in and it can be
imported; without it tensors are plain lists.
"""

from __future__ import annotations

import importlib
import sys
import typing
from typing import Any, Optional


def numpy() -> Any:
    """The numpy module, or None where the environment has none."""
    found = sys.modules.get("numpy")
    if found is None:
        try:
            found = importlib.import_module("numpy")
        except ImportError:
            return None
    return found


def is_array(kind: Any) -> bool:
    """Whether an annotation means numpy.ndarray, plain or as NDArray[...]."""
    kind = typing.get_origin(kind) or kind
    return getattr(kind, "__module__", "") == "numpy" and getattr(kind, "__name__", "") == "ndarray"


def dtype_of(kind: Any) -> Optional[Any]:
    """The dtype in NDArray[numpy.float32]; None when the annotation says none."""
    for argument in typing.get_args(kind)[1:]:
        scalars = typing.get_args(argument)
        if scalars and isinstance(scalars[0], type):
            return scalars[0]
    return None


def to_array(value: Any, dtype: Optional[Any] = None) -> Any:
    """`value` as an array; raises ValueError when it is ragged or of another type."""
    module = numpy()
    try:
        array = module.asarray(value, dtype=dtype)
    except TypeError as error:
        raise ValueError(str(error)) from error
    if array.dtype.kind == "O":
        raise ValueError("Expected numbers in equally long rows")
    return array


def stack(items: list[Any]) -> Any:
    """Items of one shape along a new first axis; raises ValueError otherwise."""
    return to_array(items)
