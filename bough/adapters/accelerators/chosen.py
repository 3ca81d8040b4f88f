"""Which accelerators this machine is taken to have: the driver's, or those of BOUGH_ACCELERATORS (`h100:2,t4`), with
which placing can be tried where there are none."""

from __future__ import annotations

import os

from bough.adapters.accelerators import Accelerators
from bough.adapters.accelerators.fake import FakeAccelerators
from bough.adapters.accelerators.nvml import NvmlAccelerators

VARIABLE = "BOUGH_ACCELERATORS"


def accelerators() -> Accelerators:
    """Raises `Invalid` for a variable that says nothing of the kind."""
    said = [each.strip() for each in os.environ.get(VARIABLE, "").split(",") if each.strip()]
    return FakeAccelerators(*said) if said else NvmlAccelerators()
