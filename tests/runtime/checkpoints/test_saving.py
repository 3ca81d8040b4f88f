"""What goes into a checkpoint comes out of it, and nothing else does."""

from __future__ import annotations

import collections
import enum
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from sklearn.linear_model import Perceptron, SGDClassifier

from bough import checkpoint
from bough.kernel.clock import VirtualClock
from bough.runtime.checkpoints import manifest
from bough.runtime.checkpoints.progress import read_progress
from bough.runtime.loaders import safetensors
from bough.runtime.spec import Failure

Open = Callable[..., checkpoint.Checkpoints]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    made: list[checkpoint.Checkpoints] = []

    def begin(**options: Any) -> checkpoint.Checkpoints:
        for one in made:
            one.close()
        made.append(checkpoint.open(str(tmp_path), **{"every": 1, "version": "1", **options}))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def chunks(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "chunks" / "0").iterdir()}


def damage(folder: Path, step: int) -> None:
    """Another byte in the last chunk that only this checkpoint has."""
    others = {ref.digest for each in manifest.steps(folder) if each != step
              for ref in manifest.read(manifest.place(folder, each)).shards[0].chunks}  # fmt: skip
    own = [ref for ref in manifest.read(manifest.place(folder, step)).shards[0].chunks if ref.digest not in others]
    path = folder / "chunks" / "0" / own[-1].digest
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


VALUES: dict[str, Any] = {
    "nothing": None, "yes": True, "whole": -(1 << 80), "real": float("inf"), "text": "häh", "bytes": bytes(range(256)),
    "nested": {"a": [1, (2, 3.5), {"b": {4, 5}}], 7: "seven", (1, "x"): frozenset((1,))},
    "ordered": collections.OrderedDict(b=1, a=2), "scalar": np.float32(1.25), "complex": 1 + 2j,
}  # fmt: skip
ARRAYS = {
    "f4": np.arange(12, dtype="f4").reshape(3, 4), "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "bool": np.array([True, False]), "empty": np.zeros((0, 3)), "zero_d": np.array(3.5), "c16": np.array([1 + 2j]),
    "time": np.array(["2026-01-02"], "M8[D]"), "big_endian": np.array([1, 2], ">i4"), "text": np.array(["ab", "cde"]),
    "fields": np.array([(1, 2.5)], [("n", "i4"), ("x", "f8")]), "strided": np.arange(10)[::3],
    "object": np.array([{"a": 1}, None], dtype=object),
}  # fmt: skip


def test_plain_values_of_every_kind_come_back(opened: Open) -> None:
    opened().save(1, dict(VALUES))
    found = opened().restore().state
    assert found == VALUES
    assert {name: type(value) for name, value in found.items()} == {name: type(v) for name, v in VALUES.items()}


def test_arrays_of_every_kind_come_back_bit_by_bit_and_in_their_order(opened: Open) -> None:
    opened().save(1, {"all": dict(ARRAYS)})
    found = opened().restore().state["all"]
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert found[name].tolist() == array.tolist(), name
    assert found["fortran"].flags.f_contiguous and found["f4"].flags.aligned


def test_generators_go_on_where_they_were(opened: Open) -> None:
    def made() -> dict[str, Any]:
        return {"a": np.random.default_rng(1), "b": random.Random(2), "c": np.random.RandomState(3),
                "d": np.random.Generator(np.random.MT19937(4))}  # fmt: skip

    def draw(state: dict[str, Any]) -> list[float]:
        own = [state["a"].random(), state["b"].random(), state["c"].rand(), state["d"].random()]
        return [*own, random.random(), float(np.random.rand())]

    state = made()
    draw(state)
    opened().save(1, state)
    expected = draw(state)
    again = made()
    rng = again["a"]
    assert opened().restore(again).step == 1
    assert again["a"] is rng and draw(again) == expected
    assert opened().restore().state["a"].random() == expected[0]


def test_an_estimator_goes_on_learning_as_if_nothing_had_been(opened: Open) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 5)), rng.integers(0, 3, 200)

    def learn(model: SGDClassifier, start: int) -> None:
        for at in range(start, start + 100, 20):
            model.partial_fit(x[at : at + 20], y[at : at + 20], classes=[0, 1, 2])

    model = SGDClassifier(random_state=1, average=True)
    learn(model, 0)
    opened().save(1, {"model": model})
    learn(model, 100)
    again = SGDClassifier(random_state=1, average=True)
    state = {"model": again}
    opened().restore(state)
    assert state["model"] is again
    learn(again, 100)
    assert np.array_equal(again.coef_, model.coef_) and again.t_ == model.t_


def test_arrays_are_changed_in_place_and_values_replaced(opened: Open) -> None:
    opened().save(1, {"w": np.ones(3), "inner": {"w": np.ones(2), "n": 1}, "list": [np.ones(1), 2]})
    w, inner = np.zeros(3), np.zeros(2)
    state: dict[str, Any] = {"w": w, "inner": {"w": inner, "n": 0, "gone": 1}, "list": [np.zeros(1), 0]}
    opened().restore(state)
    assert state["w"] is w and w.tolist() == [1, 1, 1]
    assert state["inner"]["w"] is inner and state["inner"]["n"] == 1 and "gone" not in state["inner"]
    assert state["list"][1] == 2


def test_one_array_under_two_names_is_kept_once(opened: Open, tmp_path: Path) -> None:
    big = np.random.default_rng(0).random(100_000)
    opened().save(1, {"model": {"in": big, "out": big}})
    assert opened().restore().state["model"]["out"][5] == big[5]
    assert sum(path.stat().st_size for path in (tmp_path / "chunks/0").iterdir()) < 1.1 * big.nbytes


def test_what_has_not_changed_is_not_written_again(opened: Open, tmp_path: Path) -> None:
    frozen, head = np.random.default_rng(0).random(2_000_000), np.zeros(10)
    ckpt = opened()
    ckpt.save(1, {"frozen": frozen, "head": head})
    assert ckpt.flush()
    before = chunks(tmp_path)
    head += 1
    ckpt.save(2, {"frozen": frozen, "head": head})
    assert ckpt.flush()
    fresh = {name for name, at in chunks(tmp_path).items() if before.get(name) != at}
    assert sum((tmp_path / "chunks/0" / name).stat().st_size for name in fresh) < 10_000
    third = opened()
    assert third.restore().step == 2
    third.save(3, {"frozen": frozen, "head": head})
    assert third.flush()
    assert {name for name, at in chunks(tmp_path).items() if before.get(name, at) != at} == set()


def test_the_arrays_of_an_entry_are_a_safetensors_file(opened: Open, tmp_path: Path) -> None:
    model = {"layer.weight": np.random.default_rng(0).random((300, 400)), "layer.bias": np.arange(3, dtype="f4")}
    ckpt = opened()
    ckpt.save(4, {"model": model})
    ckpt.flush()
    ckpt.export("model", tmp_path / "model.safetensors")
    found = safetensors.read(tmp_path / "model.safetensors")
    assert found.keys() == model.keys()
    assert all(np.array_equal(found[name], model[name]) for name in model)


def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_is_used(opened: Open, tmp_path: Path, capfd: Any) -> None:
    ckpt = opened()
    for step in (1, 2, 3):
        ckpt.save(step, {"w": np.full(1000, step)})
        ckpt.flush()
    damage(tmp_path, 3)
    ckpt = opened()
    found = ckpt.restore()
    assert found.step == 2 and found.state["w"][0] == 2
    progress = read_progress(tmp_path)
    assert progress is not None and "step 3 is damaged" in progress.message and progress.damaged == 1
    assert "step 3 is damaged" in capfd.readouterr().err
    ckpt.save(3, {"w": np.full(1000, 3)})  # the same bytes again: the damaged chunk must not pass for them
    assert ckpt.flush() and opened().restore().state["w"][0] == 3


def test_a_manifest_that_is_cut_or_changed_is_damaged(opened: Open, tmp_path: Path) -> None:
    ckpt = opened(keep=9)
    for step in (1, 2, 3):
        ckpt.save(step, {"n": step})
        ckpt.flush()
    path = manifest.place(tmp_path, 3)
    path.write_bytes(path.read_bytes()[:-40])
    path = manifest.place(tmp_path, 2)
    path.write_bytes(path.read_bytes().replace(b'"step":2', b'"step":7'))
    assert opened().restore().state == {"n": 1}


def test_with_nothing_whole_left_it_begins_anew_and_says_so(opened: Open, tmp_path: Path, capfd: Any) -> None:
    opened().save(1, {"n": 1})
    opened()
    damage(tmp_path, 1)
    found = opened().restore({"n": 0})
    assert not found and found.step == 0
    assert "it begins anew, for there is none before" in capfd.readouterr().err


def test_the_newest_stay_and_every_so_many(opened: Open, tmp_path: Path) -> None:
    ckpt = opened(keep=2, keep_every=4)
    for step in range(1, 11):
        ckpt.save(step, {"w": np.full(100, step)})
        ckpt.flush()
    assert manifest.steps(tmp_path) == [10, 9, 8, 4]
    needed = {
        ref.digest for step in (10, 9, 8, 4) for ref in manifest.read(manifest.place(tmp_path, step)).shards[0].chunks
    }
    assert chunks(tmp_path).keys() == needed


def test_another_version_is_refused_with_the_difference_or_goes_through_the_hook(opened: Open, tmp_path: Path) -> None:
    opened(version="1").save(5, {"w": 1})
    with pytest.raises(checkpoint.CheckpointError, match="it was version 1 and is version 2") as refused:
        opened(version="2").restore({"w": 0, "new": 7})
    assert refused.value.code == "CHECKPOINT_CODE_CHANGED" and "migrate" in refused.value.hint
    said = read_progress(tmp_path)
    assert said and said.refused == Failure(
        code=refused.value.code, message=refused.value.message, hint=refused.value.hint
    ), "whoever watches need not try again"  # fmt: skip
    seen: list[checkpoint.Saved] = []

    def migrate(saved: checkpoint.Saved) -> dict[str, Any]:
        seen.append(saved)
        return {**saved.state, "new": 8}

    state = {"w": 0, "new": 7}
    assert opened(version="2").restore(state, migrate=migrate).step == 5
    assert state == {"w": 1, "new": 8} and (seen[0].step, seen[0].version) == (5, "1")
    with pytest.raises(checkpoint.CheckpointError, match="the migrate hook returned NoneType"):
        opened(version="2").restore(state, migrate=cast(Any, lambda saved: None))


def test_an_object_of_another_kind_is_not_put_in_the_place_of_the_one_that_is_trained(opened: Open) -> None:
    opened().save(1, {"model": SGDClassifier(), "best": None})
    with pytest.raises(checkpoint.CheckpointError, match="model is a Perceptron, and a SGDClassifier was saved"):
        opened().restore({"model": Perceptron(), "best": SGDClassifier()})
    state = {"model": SGDClassifier(), "best": SGDClassifier()}
    assert opened().restore(state).step == 1 and state["best"] is None


class Phase(enum.Enum):
    WARM = "warm"
    HOT = "hot"


def test_what_is_there_once_for_all_is_replaced_and_not_changed(opened: Open) -> None:
    opened().save(1, {"phase": Phase.HOT, "same": Phase.WARM})
    state = {"phase": Phase.WARM, "same": Phase.WARM}
    opened().restore(state)
    assert state == {"phase": Phase.HOT, "same": Phase.WARM} and (Phase.WARM.value, Phase.HOT.value) == ("warm", "hot")


def test_an_entry_that_was_not_saved_is_named(opened: Open) -> None:
    opened().save(1, {"w": 1})
    with pytest.raises(checkpoint.CheckpointError, match="nothing was saved under ema"):
        opened().restore({"w": 0, "ema": 0})


def test_what_cannot_be_kept_is_named_at_the_first_save(opened: Open) -> None:
    with pytest.raises(checkpoint.CheckpointError, match=r"state\.file .*cannot be kept"):
        opened().save(1, {"state": {"file": threading.Lock()}})


class Evil:
    def __reduce__(self) -> Any:
        return subprocess.check_call, (["true"],)


def test_a_checkpoint_can_call_nothing(opened: Open) -> None:
    opened().save(1, {"evil": Evil()})
    with pytest.raises(checkpoint.CheckpointError, match=r"subprocess\.check_call, which it may not make"):
        opened().restore()


def test_the_state_may_change_as_soon_as_save_returns(opened: Open) -> None:
    w = np.zeros(5_000_000)
    ckpt = opened()
    ckpt.save(1, {"w": w})
    w += 1
    assert ckpt.flush() and opened().restore().state["w"].max() == 0


def test_steps_between_saves_are_counted_and_the_end_is_saved(opened: Open, tmp_path: Path) -> None:
    ckpt = opened(every="10 steps", keep=100)
    for step in range(1, 26):
        ckpt.save(step, {"n": step})
        ckpt.flush()
    ckpt.done()
    assert manifest.steps(tmp_path) == [25, 21, 11, 1]  # the first offer is taken: what cannot be saved shows at once
    progress = read_progress(tmp_path)
    assert progress is not None and progress.done and progress.saved_step == 25


def test_a_folder_has_one_program_at_a_time(opened: Open, tmp_path: Path) -> None:
    opened().save(1, {"n": 1})
    story = f"""
from bough.runtime.checkpoints import occupying
from pathlib import Path
try:
    occupying.lock(Path({str(tmp_path)!r}), 0, patience_s=0.1)
except Exception as error:
    print(error.code)
"""
    said = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, timeout=60)
    assert said.stdout == "CHECKPOINT_FOLDER_IN_USE\n", said.stderr


def test_losses_are_counted_and_good_ends_are_not(tmp_path: Path, clock: VirtualClock) -> None:
    def start() -> Any:
        return checkpoint.open(str(tmp_path), clock=clock.now)

    ckpt = start()
    clock.advance(100)
    ckpt.close()
    lost = start()
    assert lost._history.losses.losses == 0 and lost._history.losses.lived_s == 100
    clock.advance(50)
    lost.save(1, {"n": 1})
    lost.flush()
    lost._lock, kept = __import__("os").open("/dev/null", 0), lost._lock
    __import__("os").close(kept)
    again = start()
    assert again._history.losses.losses == 1
    assert 149 <= again._history.losses.lived_s <= 151
    again.close()


def test_it_says_when_it_was_ready_and_how_many_steps_it_has_made(tmp_path: Path, clock: VirtualClock) -> None:
    first = checkpoint.open(str(tmp_path), every=1, version="1", clock=clock.now)
    opened_at = clock.now()
    clock.advance(5.0)
    state = {"value": 1}
    first.restore(state)
    for step in range(1, 4):
        clock.advance(2.0)
        first.save(step, state, now=True)
    first.close()
    said = read_progress(tmp_path)
    assert said is not None
    assert (said.opened_at, said.began_at, said.made, said.restored_step) == (opened_at, opened_at + 5.0, 3, 0)
    again = checkpoint.open(str(tmp_path), every=1, version="1", clock=clock.now)
    clock.advance(4.0)
    again.restore(state)
    said = read_progress(tmp_path)
    assert said is not None
    assert (said.began_at - said.opened_at, said.made, said.restored_step) == (4.0, 0, 3)
    again.close()
