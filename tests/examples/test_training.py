"""The examples that train: what they come to, and that an interruption changes nothing of it."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest

from bough.kernel.project import resolve
from bough.kernel.settings import Document
from bough.runtime.checkpoints.checking import VARIABLE, Interruptions
from tests.examples.forking import Forks
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
needs_torch = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("safetensors") is None,
    reason="no torch here: pip install torch==2.13.0 safetensors",
)


# Of them, what there is; skops loads all of scikit-learn, and an optimizer of torch `_dynamo`.
PRELOADED = ("sklearn.datasets", "torch._dynamo", "torch.onnx", "safetensors.torch", "skops.io")


class Trainer:
    """Runs the program of an example in a folder of its own, as often as it is told to."""

    def __init__(self, forks: Forks, example: str, folder: Path, **params: Any) -> None:
        self.program, self.folder, self.params = ROOT / "examples" / example / "train.py", folder, params
        self.folder.mkdir()
        self._forks = forks

    def run(self, *, processes: int = 1, **plan: Any) -> list[int]:
        """Statuses of its processes; `plan`: where it is interrupted."""
        port = free_port()  # where they find each other
        interruptions = Interruptions(save_every=3, **plan)
        return self._forks.run([self._asked(rank, processes, port, interruptions) for rank in range(processes)])

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def progress(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "checkpoints" / "progress.json").read_bytes())
        return found

    @property
    def log(self) -> str:
        return (self.folder / "log-0").read_text("utf-8", "replace")

    def digests(self) -> dict[str, str]:
        return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in self.output.iterdir()}

    def _asked(self, rank: int, world: int, port: int, plan: Interruptions) -> dict[str, Any]:
        variables = {
            "BOUGH_PARAMS": json.dumps(self.params), "BOUGH_CHECKPOINTS": str(self.folder / "checkpoints"),
            "BOUGH_OUTPUT": str(self.output), VARIABLE: msgspec.json.encode(plan).decode(),
        }  # fmt: skip
        if world > 1:
            variables |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
            variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        return {
            "program": str(self.program), "folder": str(self.folder), "log": str(self.folder / f"log-{rank}"),
            "variables": variables,
        }  # fmt: skip


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks(*[each for each in PRELOADED if find_spec(each.partition(".")[0]) is not None])
    yield made
    made.end()


def test_every_example_says_what_it_is_in_a_valid_project_file() -> None:
    files = sorted((ROOT / "examples").glob("*/bough.toml"))
    found = {path.parent.name: resolve(Document.read(path)) for path in files}
    trains = {name for name, project in found.items() if project.jobs}
    assert trains == {"digits-torch", "incremental-sklearn", "orchard-lm", "data-parallel"}
    assert all(found[name].jobs["train"].register for name in trains)


def test_the_incremental_model_is_the_same_when_it_was_told_to_end_meanwhile(tmp_path: Path, forks: Forks) -> None:
    whole, cut = (Trainer(forks, "incremental-sklearn", tmp_path / name, epochs=4) for name in ("whole", "cut"))
    assert whole.run() == [0], whole.log
    assert cut.run(notice_at_step=20) == [0], cut.log
    assert not cut.progress.get("done") and not cut.output.exists()
    assert cut.run() == [0], cut.log
    assert cut.progress["done"] and cut.progress["restored_step"] == 20
    one, other = (made(each.output / "model.skops") for each in (whole, cut))
    assert (one["model"].coef_ == other["model"].coef_).all() and (one["scaler"].mean_ == other["scaler"].mean_).all()


@needs_torch
def test_the_classifier_of_digits_is_the_same_when_it_was_killed_meanwhile(tmp_path: Path, forks: Forks) -> None:
    whole, cut = (Trainer(forks, "digits-torch", tmp_path / name, steps=20, width=8) for name in ("whole", "cut"))
    assert whole.run() == [0], whole.log
    assert cut.run(notice_at_step=6) == [0], cut.log  # so that something is on the disk, however slow that is
    assert cut.run(kill_at_step=14) == [-9]
    assert cut.run() == [0], cut.log
    assert cut.progress["restored_step"] > 0
    assert cut.digests() == whole.digests()
    session = onnxruntime.InferenceSession(cut.output / "model.onnx")
    (scores,) = session.run(None, {"image": np.zeros((3, 1, 8, 8), np.float32)})
    assert scores.shape == (3, 10)


@needs_torch
def test_what_the_language_model_has_learned_is_streamed_word_by_word(
    tmp_path: Path, forks: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(forks, "orchard-lm", tmp_path / "whole", steps=120, width=32, lr=0.01)
    assert trainer.run() == [0], trainer.log
    monkeypatch.syspath_prepend(ROOT / "examples/orchard-lm")
    service = importlib.import_module("service").Orchard()
    service.models = {"language": str(trainer.output)}
    service.load()
    ask = [{"role": "user", "content": "In the winter"}]
    said = list(service.predict(ask, max_tokens=20))
    assert len(said) > 3 and said == list(service.predict(ask, max_tokens=20))
    text = (ROOT / "examples/orchard-lm/orchard.txt").read_text()
    assert all(word.strip() in text for word in said)
    assert said != list(service.predict(ask, max_tokens=20, seed=7))
    surprise = [service.language.scores(np.array(ids)) for ids in ([1, 2, 3], [3, 2, 1])]
    assert not np.allclose(*surprise), "the order of what was said counts"


@needs_torch
def test_the_language_model_is_the_same_when_it_was_told_to_end_meanwhile(tmp_path: Path, forks: Forks) -> None:
    whole, cut = (Trainer(forks, "orchard-lm", tmp_path / name, steps=20, width=16) for name in ("whole", "cut"))
    assert whole.run() == [0], whole.log
    assert cut.run(notice_at_step=11) == [0], cut.log
    assert not cut.progress.get("done") and cut.run() == [0], cut.log
    assert cut.progress["restored_step"] == 11
    assert cut.digests() == whole.digests()


@needs_torch
def test_two_processes_are_killed_and_go_on_and_come_to_the_same(tmp_path: Path, forks: Forks) -> None:
    whole, cut = (Trainer(forks, "data-parallel", tmp_path / name, steps=20) for name in ("whole", "cut"))
    assert whole.run(processes=2) == [0, 0], whole.log
    assert cut.run(processes=2, notice_at_step=6) == [0, 0], cut.log
    assert cut.run(processes=2, kill_at_step=14) == [-9, -9]
    assert cut.run(processes=2) == [0, 0], cut.log
    assert cut.progress["restored_step"] > 0
    assert cut.digests() == whole.digests()


def made(path: Path) -> Any:
    library = importlib.import_module("skops.io")  # which loads all of scikit-learn
    return library.load(path, trusted=library.get_untrusted_types(file=path))
