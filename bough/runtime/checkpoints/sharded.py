"""Tensors of which every process has a piece, kept and found again by `torch.distributed.checkpoint`.

Its planner says which process keeps which piece, and on the way back which pieces make up what each process has now, be
they as many as before or not. Here stands what it writes to and reads from: the chunks of the processes' shards. It
needs PyTorch, which is imported only when a state has such a tensor.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, MutableMapping
from typing import Any, Callable, Optional

from bough.runtime.checkpoints import arrays
from bough.runtime.checkpoints.arrays import Leaf
from bough.runtime.checkpoints.trees import Kept, KeptSharded

NAME = "bough.sharded"  # the entry of every process's shard that holds its pieces
Read = Callable[[int], tuple[Mapping[str, Any], Mapping[str, Any]]]
"""What a rank has under NAME: plain values, and the bytes of its arrays."""


def collect(tensors: Mapping[str, Any]) -> tuple[list[Leaf], dict[str, Any]]:
    """The pieces that this process keeps, and what is said of them; called in all processes at once."""
    parts = _parts()
    writer = parts.Writer()
    _dcp().save(dict(tensors), storage_writer=writer, no_dist=not _many())
    return writer.leaves, {"pieces": writer.pieces, "whole": writer.whole}


def restore(saved: MutableMapping[str, Any], state: Optional[Mapping[str, Any]], read: Read) -> None:
    """Replaces everything in `saved` that stands for such a tensor by one with its content: the one that the program
    has at that place, else a new one. Called in all processes at once."""
    found = _Found(state or {})
    for name in saved:
        saved[name] = found.resolved(saved[name], (state or {}).get(name), name)
    if found.tensors:
        _dcp().load(found.tensors, storage_reader=_parts().Reader(read), no_dist=not _many())


class _Found:
    """The tensors that are to be filled, by the name under which they were saved."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.tensors: dict[str, Any] = {}
        self._state = state

    def resolved(self, value: Any, target: Any, name: str) -> Any:
        if isinstance(value, KeptSharded):
            self.tensors[value.name] = target if _is_like(target, value) else self._made(value)
            return self.tensors[value.name]
        if isinstance(value, Kept):
            current = target.state_dict() if callable(getattr(target, "state_dict", None)) else {}
            return Kept(self.resolved(value.tree, current, name))
        if isinstance(value, dict):
            below = target if isinstance(target, Mapping) else {}
            for key in value:
                value[key] = self.resolved(value[key], below.get(key), name)
        if isinstance(value, list):
            known = [*target, *[None] * len(value)] if isinstance(target, list) else [None] * len(value)
            value[:] = [self.resolved(each, known[index], name) for index, each in enumerate(value)]
        return value

    def _made(self, kept: KeptSharded) -> Any:
        """Of an optimizer that has made no step yet, for example: laid out as it was, over the processes of today."""
        tensor = importlib.import_module("torch.distributed.tensor")
        placements = [tensor.Shard(dim) if dim >= 0 else tensor.Replicate() for dim in kept.placements]
        dtype = getattr(arrays.imported(arrays.TORCH), kept.dtype)
        mesh = next(each.device_mesh for value in self._state.values() for each in _sharded_in(value))
        return tensor.zeros(*kept.shape, dtype=dtype, device_mesh=mesh, placements=placements)


def _sharded_in(value: Any) -> list[Any]:
    if callable(getattr(value, "state_dict", None)):
        value = value.state_dict()
    if isinstance(value, Mapping):
        return [found for each in value.values() for found in _sharded_in(each)]
    if isinstance(value, (list, tuple)):
        return [found for each in value for found in _sharded_in(each)]
    return [value] if arrays.is_sharded(value) else []


def _is_like(target: Any, kept: KeptSharded) -> bool:
    return arrays.is_sharded(target) and list(target.shape) == kept.shape


def _dcp() -> Any:
    return importlib.import_module("torch.distributed.checkpoint")


def _many() -> bool:
    distributed = importlib.import_module("torch.distributed")
    return bool(distributed.is_available() and distributed.is_initialized())


def _parts() -> Any:
    """Its classes have those of PyTorch for their bases."""
    return importlib.import_module("bough.runtime.checkpoints.sharded_storage")
