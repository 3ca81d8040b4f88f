"""PyTorch's own ways to save, as its documentation uses them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.staging import BlockingAsyncStager, DefaultStager, StagingOptions


class TorchSave:
    """`torch.save` in the loop, into a file that is synced and then takes the place of the one before."""

    name = "torch.save"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "checkpoint.pt"
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: Any) -> None:
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def wait(self) -> None:
        pass

    def clear(self) -> None:
        shutil.rmtree(self._path.parent)


class TorchAsync:
    """`torch.distributed.checkpoint.async_save`, with a stager that keeps its memory from one save to the next;
    `pinned` needs a GPU."""

    name = "torch async"

    def __init__(self, folder: Path, *, pinned: bool = False) -> None:
        self._folder, self._number, self._pending = folder, 0, None
        self._stager = BlockingAsyncStager(cache_staged_state_dict=True) if pinned else DefaultStager(StagingOptions(
            use_pinned_memory=False, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=False
        ))  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        if not dist.is_initialized():
            dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)

    def save(self, state: Any) -> None:
        self.wait()
        self._number += 1
        writer = dcp.FileSystemWriter(str(self._folder / str(self._number)))
        self._pending = dcp.async_save(state, storage_writer=writer, async_stager=self._stager)

    def wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def clear(self) -> None:
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
