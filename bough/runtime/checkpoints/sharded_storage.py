"""What `torch.distributed.checkpoint` writes to and reads from: pieces in memory on the way out, chunks on the way in.

The list of pieces is plain values and no pickle: which tensors there are, of which type and size, and which piece at
which offset lies in which process's shard under which name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Callable

import msgspec

from bough.runtime.checkpoints import arrays
from bough.runtime.checkpoints.arrays import Leaf, Stored

torch: Any = arrays.imported(arrays.TORCH)
words: Any = importlib.import_module("torch.distributed.checkpoint.metadata")
storage: Any = importlib.import_module("torch.distributed.checkpoint.storage")
StorageWriter: Any = storage.StorageWriter
StorageReader: Any = storage.StorageReader


class Writer(StorageWriter):  # type: ignore[misc]
    """Remembers this process's pieces in `leaves`, and in `whole`, in the first process, what all of them make up."""

    def __init__(self) -> None:
        super().__init__()
        self.leaves: list[Leaf] = []
        self.pieces: dict[str, Stored] = {}
        self.whole: dict[str, Any] = {}

    def reset(self, checkpoint_id: Any = None) -> None:
        pass

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        pass

    def prepare_local_plan(self, plan: Any) -> Any:
        return plan

    def prepare_global_plan(self, plans: Any) -> Any:
        return plans

    def write_data(self, plan: Any, planner: Any) -> Any:
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        results = []
        for item in plan.items:
            tensor = planner.resolve_data(item)
            offset = "".join(f"@{each}" for each in item.index.offset or ())
            leaf, stored = arrays.describe(tensor, f"{item.index.fqn}{offset}")
            self.leaves.append(leaf)
            self.pieces[leaf.name] = stored
            results.append(storage.WriteResult(item.index, leaf.size, [rank, leaf.name]))
        return _done(results)

    def finish(self, metadata: Any, results: Any) -> None:
        where = {result.index: result.storage_data for each in results for result in each}
        for name, found in metadata.state_dict_metadata.items():
            pieces = [
                [list(piece.offsets), list(piece.sizes), where[words.MetadataIndex(name, piece.offsets)]]
                for piece in found.chunks
            ]
            dtype = str(found.properties.dtype).partition(".")[2]
            self.whole[name] = {"dtype": dtype, "shape": list(found.size), "pieces": pieces}

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return True


class Reader(StorageReader):  # type: ignore[misc]
    """Takes pieces from the shards in which they lie, of whichever process that was."""

    def __init__(self, read: Callable[[int], tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        super().__init__()
        self._read = read
        self._shards: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}

    def reset(self, checkpoint_id: Any = None) -> None:
        pass

    def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
        tensors: dict[str, Any] = {}
        where: dict[Any, Any] = {}
        for name, found in self._shard(0)[0]["whole"].items():
            properties = words.TensorProperties(dtype=getattr(torch, found["dtype"]))
            pieces = []
            for offsets, sizes, place in found["pieces"]:
                pieces.append(words.ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)))
                where[words.MetadataIndex(name, torch.Size(offsets))] = place
            tensors[name] = words.TensorStorageMetadata(properties, torch.Size(found["shape"]), pieces)
        return words.Metadata(state_dict_metadata=tensors, storage_data=where)

    def set_up_storage_reader(self, metadata: Any, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        self._where = metadata.storage_data

    def prepare_local_plan(self, plan: Any) -> Any:
        return plan

    def prepare_global_plan(self, plans: Any) -> Any:
        return plans

    def read_data(self, plan: Any, planner: Any) -> Any:
        for wanted in plan.items:
            rank, name = self._where[wanted.storage_index]
            about, content = self._shard(rank)
            piece = arrays.rebuild(msgspec.convert(about["pieces"][name], Stored), content[name])
            for dim, (start, length) in enumerate(zip(wanted.storage_offsets, wanted.lengths)):
                piece = piece.narrow(dim, start, length)
            target = planner.resolve_tensor(wanted).detach()
            target.copy_(piece)
            planner.commit_tensor(wanted, target)
        return _done(None)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return True

    def _shard(self, rank: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        if rank not in self._shards:
            self._shards[rank] = self._read(rank)
        return self._shards[rank]


def _done(value: Any) -> Any:
    future: Any = torch.futures.Future()
    future.set_result(value)
    return future
