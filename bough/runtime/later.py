"""What `bough` offers to some programs only, imported when it is first asked for (PEP 562): it takes tens of
milliseconds, and every replica imports `bough`."""

import importlib
import sys
from typing import Any

_LATER = {"Item": "queued", "database": "pages.opening", "direct": "estimators", "params": "runs", "run": "runs"}


def later(name: str) -> Any:
    """An attribute of `bough` that is not there yet."""
    if name not in _LATER:
        raise AttributeError(f"module 'bough' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"bough.runtime.{_LATER[name]}"), name)
    setattr(sys.modules["bough"], name, found)
    return found
