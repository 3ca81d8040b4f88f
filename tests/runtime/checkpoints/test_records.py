"""Records are what is in the files, whole and in the order that was asked for, and each process reads its own."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from bough.checkpoint import Records, Samples
from bough.runtime.checkpoints.records import READING


def test_a_record_is_a_file_a_line_or_so_many_bytes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/2.txt").write_bytes(b"three\r\n\nfive")
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n")
    assert [*Records(tmp_path)] == [b"one\ntwo\n", b"three\r\n\nfive"]
    assert [*Records(tmp_path, lines=True)] == [b"one", b"two", b"three", b"", b"five"]
    assert [*Records(tmp_path / "a.txt", size=4)] == [b"one\n", b"two\n"]
    assert Records(tmp_path).total_bytes == 20
    with pytest.raises(ValueError, match="whole records of 3"):
        Records(tmp_path, size=3)
    with pytest.raises(FileNotFoundError):
        Records(tmp_path / "none")


@settings(deadline=None, max_examples=40)
@given(some.integers(1, 40), some.integers(1, 5), some.integers(1, 3), some.integers(0, 9), some.integers(1, 4))
def test_interrupted_anywhere_each_process_goes_on_with_its_own_records(
    tmp_path_factory: pytest.TempPathFactory, count: int, size: int, world: int, at: int, ahead: int
) -> None:
    folder = tmp_path_factory.mktemp("records")
    for number in range(count):
        (folder / f"{number:03}").write_text(str(number))
    seen: list[bytes] = []
    for rank in range(world):
        records = Records(folder, ahead=ahead, threads=2)
        whole = Samples(count, batch_size=size, seed=3, epochs=2, rank=rank, world=world)
        wanted = [[str(index).encode() for index in batch] for batch in whole]
        first, second = (
            Samples(count, batch_size=size, seed=3, epochs=2, rank=rank, world=world) for _ in range(2)
        )  # fmt: skip
        begun = list(islice(first.through(records.read), at))
        second.load_state_dict(first.state_dict())
        assert begun + list(second.through(records.read)) == wanted
        seen += [each for batch in wanted for each in batch]
    assert sorted(seen) == sorted(str(number).encode() for number in [*range(count)] * 2)


def test_what_was_read_is_counted_and_a_file_that_shrank_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(100))
    records, before = Records(tmp_path, size=10), READING.bytes
    assert len(list(records.read([[0, 1], [9]]))) == 2 and READING.bytes - before == 30
    assert READING.seconds > 0 and READING.figures()["waited_s"] <= READING.seconds
    (tmp_path / "x").write_bytes(bytes(50))
    with pytest.raises(EOFError, match="has become shorter"):
        list(records.read([[9]]))
