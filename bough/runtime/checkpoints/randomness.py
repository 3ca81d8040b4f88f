"""The random generators that a whole program shares: Python's, numpy's, PyTorch's on every device."""

from __future__ import annotations

import array
import random
from typing import Any

from bough.runtime.checkpoints import arrays

NAME = "bough.random"  # the entry of the state under which they are kept


def now() -> dict[str, Any]:
    """As they stand, in bytes. Only of libraries that the program has imported."""
    version, words, gauss = random.getstate()
    found: dict[str, Any] = {"python": (version, array.array("I", words).tobytes(), gauss)}
    numpy, torch = arrays.loaded(arrays.NUMPY), arrays.loaded(arrays.TORCH)
    if numpy is not None and hasattr(numpy, "random"):
        name, key, position, has_gauss, cached = numpy.random.get_state(legacy=True)
        found["numpy"] = (name, key.tobytes(), int(position), int(has_gauss), float(cached))
    if torch is not None and hasattr(torch, "get_rng_state"):
        found["torch"] = torch.get_rng_state().numpy().tobytes()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["cuda"] = [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
    return found


def restore(kept: dict[str, Any]) -> None:
    """Last of all: what loads may draw."""
    version, words, gauss = kept["python"]
    random.setstate((version, tuple(array.array("I", words)), gauss))
    numpy, torch = arrays.loaded(arrays.NUMPY), arrays.loaded(arrays.TORCH)
    if numpy is not None and "numpy" in kept:
        name, key, position, has_gauss, cached = kept["numpy"]
        numpy.random.set_state((name, numpy.frombuffer(key, numpy.uint32), position, has_gauss, cached))
    if torch is not None and "torch" in kept:
        torch.set_rng_state(_tensor(torch, kept["torch"]))
        if "cuda" in kept and torch.cuda.is_available() and torch.cuda.device_count() == len(kept["cuda"]):
            torch.cuda.set_rng_state_all([_tensor(torch, state) for state in kept["cuda"]])


def _tensor(torch: Any, content: bytes) -> Any:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)
