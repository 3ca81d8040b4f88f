"""A control plane that runs report to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plane import Plane


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path)
    yield made
    made.bough.stop()
