"""Memory into which a GPU writes by itself: page-locked, so that the driver needs no copy of its own in between."""

from __future__ import annotations

import contextlib
import mmap
import sys
from typing import Any

from bough.runtime.checkpoints import copying


class Pinned:
    """Page-locks `memory` for CUDA until `release`; does nothing where PyTorch cannot."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._address = copying.address_of(memory)
        cudart = _cudart()
        self.held = cudart is not None and int(cudart.cudaHostRegister(self._address, len(memory), 0)) == 0

    def release(self) -> None:
        """Before the memory goes."""
        cudart = _cudart()
        if self.held and cudart is not None:
            cudart.cudaHostUnregister(self._address)
        self.held = False


def settle(devices: set[int]) -> None:
    """Waits until copies that were begun on these GPUs have arrived."""
    for number in devices:
        sys.modules["torch"].cuda.synchronize(number)


def _cudart() -> Any:
    torch = sys.modules.get("torch")
    with contextlib.suppress(AttributeError, AssertionError, RuntimeError):  # built without CUDA, or no driver
        if torch is not None and torch.cuda.is_initialized():
            return torch.cuda.cudart()
    return None
