"""Samples go on where they were, in the order in which they would have come."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bough.checkpoint import CheckpointError, Samples


@given(some.integers(1, 60), some.integers(1, 9), some.booleans(), some.booleans(), some.integers(0, 40))
def test_interrupted_anywhere_the_order_is_the_same(
    count: int, size: int, shuffle: bool, drop_last: bool, at: int
) -> None:
    size = min(size, count) if drop_last else size

    def made() -> Samples:
        return Samples(count, batch_size=size, shuffle=shuffle, drop_last=drop_last, seed=4, epochs=5)

    whole = list(made())
    first, second = made(), made()
    begun = list(islice(first, at))
    second.load_state_dict(first.state_dict())
    assert begun + list(second) == whole
    assert second.samples == sum(map(len, whole))


@given(some.integers(1, 60), some.integers(1, 9), some.integers(1, 4))
def test_each_epoch_has_every_sample_once_among_all_processes(count: int, size: int, world: int) -> None:
    ranks = [Samples(count, batch_size=size, rank=rank, world=world, epochs=2) for rank in range(world)]
    seen = [index for samples in ranks for batch in samples for index in batch]
    assert sorted(seen) == sorted([*range(count)] * 2)


def test_other_processes_go_on_with_what_is_left() -> None:
    two = [Samples(24, batch_size=3, rank=rank, world=2, epochs=1) for rank in range(2)]
    seen = [index for samples in two for batch in islice(samples, 2) for index in batch]
    three = [Samples(24, batch_size=2, rank=rank, world=3, epochs=1) for rank in range(3)]
    for samples in three:
        samples.load_state_dict(two[0].state_dict())
    left = [index for samples in three for batch in samples for index in batch]
    assert sorted(seen + left) == list(range(24))


def test_more_processes_than_there_are_samples_for_do_not_pass_for_the_end_of_the_data() -> None:
    assert len(list(Samples(10, batch_size=5, world=2, rank=0, drop_last=True, epochs=1))) == 1
    with pytest.raises(ValueError, match="drop_last leaves nothing of 10 samples, for 3 x 5 make a step"):
        Samples(10, batch_size=5, world=3, rank=0, drop_last=True)


def test_what_a_loader_fetched_ahead_does_not_count() -> None:
    samples, fetched = Samples(20, batch_size=2, epochs=1), []

    def loader(batches):  # type: ignore[no-untyped-def]
        everything = list(batches)
        fetched.extend(everything)
        return everything

    seen = list(islice(samples.through(loader), 3))
    assert len(fetched) == 10 and samples.samples == 6
    again = Samples(20, batch_size=2, epochs=1)
    again.load_state_dict(samples.state_dict())
    assert seen + list(again.through(list)) == fetched


def test_data_that_is_not_the_same_is_refused() -> None:
    state = Samples(20, seed=1).state_dict()
    for other in (Samples(21, seed=1), Samples(20, seed=2), Samples(20, seed=1, shuffle=False)):
        with pytest.raises(CheckpointError, match="another order"):
            other.load_state_dict(state)
    with pytest.raises(CheckpointError, match="shuffles differently"):
        Samples(20, seed=1).load_state_dict({**state, "mark": "other"})
