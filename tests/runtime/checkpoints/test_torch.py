"""PyTorch's modules, optimizers, schedulers, generators and loaders. Skipped where PyTorch is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bough import checkpoint
from bough.runtime.loaders import safetensors
from tests.lazily import Lazily

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
torch = Lazily("torch")


class Training:
    def __init__(self, folder: Path, workers: int = 0) -> None:
        torch.manual_seed(3)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(8, 32), torch.nn.BatchNorm1d(32), torch.nn.Dropout(0.3), torch.nn.Linear(32, 3)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01, amsgrad=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.05, total_steps=100)
        self.data = checkpoint.Samples(100, batch_size=10, seed=2)
        self.generator = torch.Generator().manual_seed(5)
        self.x, self.y = torch.randn(100, 8), torch.randint(0, 3, (100,))
        self.workers = workers
        self.state = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule, "data": self.data,
                      "generator": self.generator, "average": torch.zeros(3, 32)}  # fmt: skip
        self.ckpt = checkpoint.open(str(folder), every=4, version="1")

    def run(self, steps: int) -> list[float]:
        """To that step, and lets go of the folder without a good end."""
        start, losses = self.ckpt.restore(self.state).step, []
        dataset = torch.utils.data.TensorDataset(self.x, self.y)
        batches = self.data.through(
            lambda rows: torch.utils.data.DataLoader(dataset, batch_sampler=rows, num_workers=self.workers)
        )
        for step in range(start, steps):
            x, y = next(batches)
            noise = torch.randn(x.shape, generator=self.generator) * 0.1
            loss = torch.nn.functional.cross_entropy(self.model(x + noise), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.state["average"] += self.model[3].weight.detach()
            losses.append(float(loss.detach()))
            if self.ckpt.save(step + 1, self.state):
                self.ckpt.flush()  # else a slow disk would skip the next one
        self.ckpt.close()
        return losses


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_goes_on_as_if_nothing_had_been(tmp_path: Path, workers: int) -> None:
    whole = Training(tmp_path / "whole", workers)
    expected = whole.run(30)
    Training(tmp_path / "cut", workers).run(11)
    Training(tmp_path / "cut", workers).run(19)
    last = Training(tmp_path / "cut", workers)
    losses = last.run(30)
    assert losses == expected[-len(losses) :] and len(losses) < 15
    pairs = zip(whole.model.state_dict().values(), last.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert torch.equal(whole.state["average"], last.state["average"])
    assert whole.optimizer.state_dict()["param_groups"] == last.optimizer.state_dict()["param_groups"]


@pytest.mark.parametrize(
    "dtype", ["float64", "float16", "bfloat16", "int64", "uint8", "bool", "complex64", "float8_e4m3fn"]
)
def test_tensors_of_every_kind_come_back(tmp_path: Path, dtype: str) -> None:
    tensor = (torch.arange(24).reshape(4, 6) % 3).to(getattr(torch, dtype))
    with checkpoint.open(str(tmp_path), version="1") as ckpt:
        ckpt.save(1, {"a": tensor, "t": tensor.T, "strided": tensor[:, ::2], "none": tensor[:0]})
    with checkpoint.open(str(tmp_path), version="1") as ckpt:
        found: dict[str, Any] = ckpt.restore().state
    as_bytes = lambda value: value.contiguous().view(torch.uint8)  # noqa: E731
    for name, value in {"a": tensor, "t": tensor.T, "strided": tensor[:, ::2], "none": tensor[:0]}.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        assert torch.equal(as_bytes(found[name]), as_bytes(value))
    assert found["t"].stride() == tensor.T.stride()


def test_a_module_is_a_safetensors_file_with_the_names_of_its_parameters(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    with checkpoint.open(str(tmp_path / "c"), version="1") as ckpt:
        ckpt.save(1, {"model": model}, now=True)
        ckpt.flush()
        ckpt.export("model", tmp_path / "model.safetensors")
    found = safetensors.read(tmp_path / "model.safetensors")
    assert np.array_equal(found["weight"], model.weight.detach().numpy()) and found["bias"].shape == (2,)


def test_another_shape_is_named(tmp_path: Path) -> None:
    with checkpoint.open(str(tmp_path), version="1") as ckpt:
        ckpt.save(1, {"model": torch.nn.Linear(3, 2)})
    with (
        checkpoint.open(str(tmp_path), version="1") as ckpt,
        pytest.raises(checkpoint.CheckpointError, match="size mismatch"),
    ):
        ckpt.restore({"model": torch.nn.Linear(3, 4)})
