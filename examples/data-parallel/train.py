"""The same network in several processes, each with its part of every batch; gradients are averaged (DDP, gloo).

Bough starts the processes and gives them RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun does; alone it is
an ordinary program. A checkpoint is that of all processes together, so it may go on in more or fewer of them.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import distributed, nn

import bough
from bough import checkpoint

BATCH = 64  # of all processes together


def main() -> None:
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = bough.params(steps=120, lr=0.003)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if world > 1:
        distributed.init_process_group("gloo")
    images, labels, test, test_labels = digits()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    parallel: nn.Module = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=chosen["lr"])
    data = checkpoint.Samples(len(images), batch_size=BATCH // world, seed=0, drop_last=True)
    state = {"model": model, "optimizer": optimizer, "data": data}
    steps = int(chosen["steps"])

    ckpt = checkpoint.open(total=steps).every("auto")
    begun = ckpt.restore(state).step
    with reported(rank) as run:
        for step, rows in zip(range(begun, steps), data, strict=False):
            loss = nn.functional.cross_entropy(parallel(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 20 == 0:
                run.log_metrics({"loss": loss.item()}, step=step)
            ckpt.save(step + 1, state)
            if ckpt.should_stop():
                return
        right = (model(test).argmax(1) == test_labels).float().mean().item()
        run.log_metrics({"accuracy": right}, step=steps)
        if rank == 0:
            print(f"accuracy {right:.4f} on {len(test)} images, {world} processes")
            folder = Path(os.environ.get("BOUGH_OUTPUT", "output"))
            folder.mkdir(parents=True, exist_ok=True)
            save_file(model.state_dict(), folder / "model.safetensors")
    ckpt.done(state)
    if world > 1:
        distributed.destroy_process_group()


def digits() -> tuple[torch.Tensor, ...]:
    found = load_digits()
    parts = train_test_split(
        (found.data / 16).astype("float32"), found.target, test_size=0.4, random_state=0, stratify=found.target
    )
    train, test, labels, test_labels = map(torch.from_numpy, parts)
    return train, labels, test, test_labels


class Printed:
    """In place of a run, where nobody keeps one."""

    def log_metrics(self, metrics: dict[str, float], *, step: int = 0) -> None:
        print(step, metrics)


def reported(rank: int) -> Any:
    """The run that Bough keeps of this job; outside of one, and in other processes than the first, the terminal."""
    return bough.run() if "BOUGH_RUN" in os.environ and rank == 0 else contextlib.nullcontext(Printed())


if __name__ == "__main__":
    main()
