"""Objects that have no state of their own to give (scikit-learn's, a program's), with their arrays kept apart.

A pickle is a small program. Here it may name classes of the program's own modules, of packages that the given state's
objects come from and of the libraries of numbers, and the few functions with which those put their objects together;
nothing else is found, so nothing else can be called.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
import sys
from pathlib import Path
from typing import Any, Callable

from bough.runtime.checkpoints import arrays
from bough.runtime.checkpoints.failures import CheckpointError

_PACKAGES = frozenset(
    ("numpy", "torch", "scipy", "sklearn", "collections", "datetime", "decimal", "fractions", "__main__")
)
_BUILTINS = frozenset(
    ("set", "frozenset", "dict", "list", "tuple", "bytearray", "complex", "range", "slice", "object", "int", "float",
     "str", "bytes", "bool")
)  # fmt: skip
_RECONSTRUCTORS = frozenset(
    ("_reconstruct", "scalar", "_frombuffer", "__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor",
     "_reconstructor", "__newobj__", "__newobj_ex__")
)  # fmt: skip


def pickled(value: Any, keep: Callable[[Any], int], name: str) -> bytes:
    """`keep` is given every array and says under which number it is kept."""
    out = io.BytesIO()
    try:
        _Pickler(out, keep).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            "CHECKPOINT_STATE_INVALID", f"{name} ({type(value).__name__}) cannot be kept: {error}",
            "give it state_dict and load_state_dict, or leave it out of the state",
        ) from error  # fmt: skip
    return out.getvalue()


def unpickled(content: bytes, array: Callable[[int], Any], allowed: frozenset[str]) -> Any:
    return _Unpickler(content, array, allowed).load()


class _Pickler(pickle.Pickler):
    def __init__(self, out: io.BytesIO, keep: Callable[[Any], int]) -> None:
        super().__init__(out, protocol=4)
        self._keep = keep
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []  # an id is free again when its object is gone

    def persistent_id(self, value: Any) -> Any:
        if not arrays.is_array(value):
            return None
        if id(value) not in self._numbers:
            self._alive.append(value)
            self._numbers[id(value)] = self._keep(value)
        return self._numbers[id(value)]


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, array: Callable[[int], Any], allowed: frozenset[str]) -> None:
        super().__init__(io.BytesIO(content))
        self._array, self._allowed = array, allowed

    def persistent_load(self, number: Any) -> Any:
        return self._array(number)

    def find_class(self, module: str, name: str) -> Any:
        package = module.partition(".")[0]
        if module == "builtins" and name in _BUILTINS:
            return super().find_class(module, name)
        if module == "copyreg" and name in _RECONSTRUCTORS:
            return super().find_class(module, name)
        if package in _PACKAGES or package in self._allowed or _is_own(module):
            found = super().find_class(module, name)
            last = name.rpartition(".")[2]
            if (
                isinstance(found, type)
                or type(found).__name__ == "dtype"
                or last in _RECONSTRUCTORS
                or last.startswith("__pyx_unpickle_")
            ):
                return found
        raise CheckpointError(
            "CHECKPOINT_STATE_INVALID", f"the checkpoint names {module}.{name}, which it may not make",
            f'if that is right: checkpoint.open(allow=["{package}"])',
        )  # fmt: skip


def _is_own(module: str) -> bool:
    """Lies in the folder of the program's main file."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if not main:
        return False
    found = importlib.util.find_spec(module.partition(".")[0])  # imports nothing
    origin = found.origin if found is not None else None
    return bool(origin) and Path(main).resolve().parent in Path(str(origin)).resolve().parents
