"""One gigabyte of state: what a save takes from the program, and how fast it reaches the disk.

    python -m bench.checkpoints.size [--gigabytes 1] [--times 5] [--folder /dev/shm] [--alone]

Beside it, in turns: plain copies of the same tensors into memory that has been used before, by the C library in one
thread and by PyTorch, and one plain file of the same bytes, written and synced. PyTorch's own ways save the same state:
`torch.save`, and `torch.distributed.checkpoint` as it is made to save asynchronously. With `--device cuda` the state is
on a GPU, and the plain copies go into page-locked memory and into ordinary one. With `--alone` PyTorch's ways are left
out; in /dev/shm, which is as fast as memory, what Bough itself takes stands out.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.checkpoints import peers
from bough import checkpoint

TENSORS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", default="", help="on the disk that is measured")
    parser.add_argument("--alone", action="store_true", help="without PyTorch's own ways")
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="bench-checkpoints-", dir=asked.folder or None)).absolute()
    try:
        measure(place, asked.gigabytes, asked.times, asked.device, alone=asked.alone)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def measure(place: Path, gigabytes: float, times: int, device: str, *, alone: bool) -> None:
    count = int(gigabytes * 2**30 / 4 / TENSORS)
    model = {f"layer{number}.weight": torch.randn(count, device=device) for number in range(TENSORS)}
    found: dict[str, list[float]] = {}
    on_gpu = device != "cpu"
    copies = {name: torch.empty(count, pin_memory=on_gpu).copy_(tensor) for name, tensor in model.items()}
    unpinned = {name: torch.empty(count).copy_(tensor) for name, tensor in model.items()} if on_gpu else copies
    ckpt = checkpoint.open(str(place / "bough"), every="24h", version="1")
    ckpt.restore({"model": model})  # says how much memory will be needed
    time.sleep(3)
    others = () if alone else (peers.TorchSave(place / "torch"), peers.TorchAsync(place / "async", pinned=on_gpu))
    for number in range(times + 1):
        for tensor in model.values():
            tensor += 1.0  # everything is new, so nothing is left out

        def copy() -> None:
            for name, tensor in model.items():
                if on_gpu:
                    copies[name].copy_(tensor, non_blocking=True)
                else:
                    ctypes.memmove(copies[name].data_ptr(), tensor.data_ptr(), tensor.nbytes)
            settle()

        def torch_copy() -> None:
            for name, tensor in model.items():
                unpinned[name].copy_(tensor)
            settle()

        def note(name: str, seconds: float, number: int = number) -> None:
            found.setdefault(name if number else f"{name}, first", []).append(seconds)

        settle()
        note("memory copy", timed(copy))
        note("memory copy, not page-locked" if on_gpu else "memory copy by PyTorch", timed(torch_copy))
        note("Bough: save returns", timed(lambda number=number: ckpt.save(number + 1, {"model": model}, now=True)))
        note("Bough: then on the disk", timed(ckpt.flush))
        note("plain write and sync", timed(lambda: plain(place / "plain", copies)))
        for peer in others:
            note(f"{peer.name}: returns", timed(lambda peer=peer: peer.save(model)))
            note(f"{peer.name}: then on the disk", timed(peer.wait))
    ckpt.close()
    report(found, gigabytes)


def settle() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def plain(path: Path, model: dict[str, Any]) -> None:
    with path.open("wb", buffering=0) as file:
        for tensor in model.values():
            view = memoryview(tensor.numpy()).cast("B")
            while view:
                view = view[file.write(view[: 8 << 20]) :]
        os.fsync(file.fileno())
    path.unlink()


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def report(found: dict[str, list[float]], gigabytes: float) -> None:
    middle = {name: statistics.median(values) for name, values in found.items()}
    for name, values in found.items():
        print(f"{name:40} {middle[name]:7.3f} s   {' '.join(f'{value:.3f}' for value in values)}")
    print(f"\nsave beside a memory copy: {middle['Bough: save returns'] / middle['memory copy']:.2f} (1.2 wanted)")
    with contextlib.suppress(KeyError):
        speed = middle["plain write and sync"] / (middle["Bough: save returns"] + middle["Bough: then on the disk"])
        print(f"reaches the disk at {speed:.0%} of a plain write (80 % wanted)")


if __name__ == "__main__":
    main()
