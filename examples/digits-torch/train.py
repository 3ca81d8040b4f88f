"""A small convolutional network that reads digits. Interrupted at any step, it goes on as if nothing had happened."""

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

import digits
import torch
from torch import nn

import bough
from bough import checkpoint

BATCH = 64


def network(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * width, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10),
    )  # fmt: skip


def main() -> None:
    chosen = bough.params(steps=200, lr=0.003, width=32)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels, test, test_labels = (torch.from_numpy(each) for each in digits.split())
    model = network(chosen["width"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=chosen["lr"])
    data = checkpoint.Samples(len(images), batch_size=BATCH, seed=0)
    state = {"model": model, "optimizer": optimizer, "data": data}
    steps = int(chosen["steps"])

    ckpt = checkpoint.open(total=steps).every("auto")
    begun = ckpt.restore(state).step
    with reported() as run:
        for step, rows in zip(range(begun, steps), data, strict=False):
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 20 == 0:
                run.log_metrics({"loss": loss.item()}, step=step)
            ckpt.save(step + 1, state)
            if ckpt.should_stop():
                return
        model.eval()
        right = (model(test).argmax(1) == test_labels).float().mean().item()
        run.log_metrics({"accuracy": right}, step=steps)
        print(f"accuracy {right:.4f} on {len(test)} images")
        export(model, Path(os.environ.get("BOUGH_OUTPUT", "output")))
    model.train()
    ckpt.done(state)


def export(model: nn.Module, folder: Path) -> None:
    """As ONNX, which serves without torch."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the newer exporter needs a further package, for the same file
        torch.onnx.export(
            model, (torch.zeros(2, 1, 8, 8),), str(folder / "model.onnx"), input_names=["image"],
            output_names=["scores"], dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}}, dynamo=False,
        )  # fmt: skip


class Printed:
    """In place of a run, where nobody keeps one."""

    def log_metrics(self, metrics: dict[str, float], *, step: int = 0) -> None:
        print(step, metrics)


def reported() -> Any:
    """The run that Bough keeps of this job; outside of one, the terminal."""
    return bough.run() if "BOUGH_RUN" in os.environ else contextlib.nullcontext(Printed())


if __name__ == "__main__":
    main()
