"""In which order a program sees its samples, and how far it has come in that: data that goes on where it was.

    data = checkpoint.Samples(len(x), batch_size=64, seed=0, epochs=3)
    for rows in data: ...                       # lists of indices
    for batch in data.through(lambda batches: DataLoader(dataset, batch_sampler=batches, num_workers=2)): ...

The order of an epoch follows from the seed and the number of the epoch alone, so the position is three numbers. It is
the position of all processes together: when their number changes, what is left is dealt out anew. It counts what the
program has been given, not what a loader has fetched ahead.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import random
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from bough.runtime.checkpoints import arrays
from bough.runtime.checkpoints.checking import samples_taken
from bough.runtime.checkpoints.failures import CheckpointError

_MARK = 16  # samples whose order vouches for the rest


class Samples:
    """Batches of indices into `count` samples. Entry of a state as it is: it has `state_dict` and `load_state_dict`."""

    def __init__(
        self, count: int, *, batch_size: int = 1, shuffle: bool = True, seed: int = 0, epochs: int = 0,
        drop_last: bool = False, rank: int = -1, world: int = 0,
    ) -> None:  # fmt: skip
        """`epochs` 0 goes on for ever. With several processes each gets `batch_size` samples of its own per step; rank
        and world are those of torchrun's variables unless given."""
        if count < 1 or batch_size < 1:
            raise ValueError(f"{count} samples in batches of {batch_size}")
        self.count, self.batch_size, self.shuffle, self.seed = count, batch_size, shuffle, seed
        self.epochs, self.drop_last = epochs, drop_last
        self._rank = int(os.environ.get("RANK", "0")) if rank < 0 else rank
        self._world = int(os.environ.get("WORLD_SIZE", "1")) if world < 1 else world
        if drop_last and batch_size * self._world > count:  # every batch would be dropped: nothing is trained
            raise ValueError(
                f"drop_last leaves nothing of {count} samples, for {self._world} x {batch_size} make a step"
            )
        self.epoch = 0
        self.position = 0  # samples of this epoch that all processes have had
        self._taken = 0  # of the epochs before
        self._order: tuple[int, Any] = (-1, None)

    @property
    def samples(self) -> int:
        """Taken since the very beginning, by all processes."""
        return self._taken + self.position

    @property
    def batches_per_epoch(self) -> int:
        step = self.batch_size * self._world
        return self.count // step if self.drop_last else -(-self.count // step)

    def __iter__(self) -> Iterator[list[int]]:
        while (batch := self._at(self.epoch, self.position)) is not None:
            self._given(batch)
            yield batch[2]

    def through(self, loader: Callable[[Iterable[list[int]]], Iterable[Any]]) -> Iterator[Any]:
        """What a loader makes of the batches. It must keep their order, as PyTorch's does; it may fetch ahead."""
        ahead: list[tuple[int, int, list[int]]] = []
        with _untouched_generators():
            items = iter(loader(self._ahead(ahead)))
        for item in items:
            self._given(ahead.pop(0))
            yield item

    def order(self, epoch: int) -> Any:
        """All indices, as this epoch has them."""
        if self._order[0] != epoch:
            self._order = (epoch, self._shuffled(epoch) if self.shuffle else range(self.count))
        return self._order[1]

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch, "position": self.position, "taken": self._taken, "count": self.count,
            "seed": self.seed, "shuffle": self.shuffle, "mark": self._mark(self.epoch),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key in ("count", "seed", "shuffle"):
            if state[key] != getattr(self, key):
                raise _changed(f"it was saved with {key} {state[key]}, and now it is {getattr(self, key)}")
        if state["mark"] != self._mark(state["epoch"]):
            raise _changed("this numpy shuffles differently from the one that saved")
        self.epoch, self.position, self._taken = state["epoch"], state["position"], state["taken"]

    def _ahead(self, given: list[tuple[int, int, list[int]]]) -> Iterator[list[int]]:
        epoch, position = self.epoch, self.position
        while (batch := self._at(epoch, position)) is not None:
            epoch, position = batch[0], batch[1]
            given.append(batch)
            yield batch[2]

    def _at(self, epoch: int, position: int) -> Any:
        """The batch at a position: the epoch that it belongs to, the position after it, this process's indices."""
        step = self.batch_size * self._world
        over = position + step > self.count if self.drop_last else position >= self.count
        if over and position:
            epoch, position = epoch + 1, 0
        if self.epochs and epoch >= self.epochs:
            return None
        order = self.order(epoch)
        end = min(position + step, self.count)
        mine = order[position:end][self._rank :: self._world]
        return epoch, end, mine.tolist() if hasattr(mine, "tolist") else list(mine)

    def _given(self, batch: tuple[int, int, list[int]]) -> None:
        if batch[0] != self.epoch:
            self._taken += self.position
        self.epoch, self.position = batch[0], batch[1]
        samples_taken(hashlib.sha256(repr(batch[2]).encode()).hexdigest()[:16])

    def _shuffled(self, epoch: int) -> Any:
        if importlib.util.find_spec(arrays.NUMPY) is not None:
            numpy = arrays.imported(arrays.NUMPY)
            return numpy.random.Generator(numpy.random.PCG64([self.seed, epoch])).permutation(self.count)
        order = list(range(self.count))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)  # noqa: S311 - not for secrets
        return order

    def _mark(self, epoch: int) -> str:
        first = [int(index) for index in self.order(epoch)[:_MARK]]
        return hashlib.sha256(repr(first).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _untouched_generators() -> Iterator[None]:
    """PyTorch's loader draws a number when it begins, and begins once more after an interruption."""
    torch = arrays.loaded(arrays.TORCH)
    kept = torch.get_rng_state() if torch is not None else None
    yield
    if kept is not None:
        torch.set_rng_state(kept)


def _changed(why: str) -> CheckpointError:
    return CheckpointError(
        "CHECKPOINT_ORDER_CHANGED", f"the samples would come in another order: {why}",
        "make it what it was, or begin anew in another folder",
    )  # fmt: skip
