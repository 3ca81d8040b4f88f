"""Bough: an AI-native developer platform that a team runs itself.

What a program may want from here is light (no server library is imported): `bough.batch` and `bough.Reject` for
a model's code, `bough.Item` for one that works on a queue, `bough.run` and `bough.params` for one that trains,
`bough.database` for one that keeps rows.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bough.runtime.service import Reject, batch

if TYPE_CHECKING:
    from bough.runtime.pages.opening import database
    from bough.runtime.queued import Item
    from bough.runtime.runs import params, run

__version__ = "0.1.0"
__all__ = ["Item", "Reject", "__version__", "batch", "database", "params", "run"]

# What only some programs use, and what takes tens of milliseconds to import.
_LATER = {"Item": "queued", "database": "pages.opening", "params": "runs", "run": "runs"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'bough' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"bough.runtime.{_LATER[name]}"), name)
    globals()[name] = found
    return found
