"""Packages that take seconds to import, for tests that need them: every test process reads all files of tests,
whichever of them it will run."""

from __future__ import annotations

import importlib
from typing import Any


class Lazily:
    """A module that is imported when something of it is first asked for. Of its inside it says nothing: pytest asks
    everything that it finds whether it is a fixture or a test."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)
