"""The client itself, imported when it is first asked for (PEP 562): it takes as long as the whole of `bough --help`,
which needs nothing of this package but the contract."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_LATER = {"Client": "client", "connect": "client", "Record": "record"}


def later(name: str) -> Any:
    """An attribute of `bough.client` that is not there yet."""
    if name not in _LATER:
        raise AttributeError(f"module 'bough.client' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"bough.client.{_LATER[name]}"), name)
    setattr(sys.modules["bough.client"], name, found)
    return found
