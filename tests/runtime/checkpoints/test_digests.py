"""Digests are worked out ahead of the writer, in order, and by nobody once the writer has ended."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bough.runtime.checkpoints import digests, manifest, restoring

PIECE = 16 << 20


@pytest.fixture(scope="module")
def pieces() -> list[memoryview]:
    """Enough for threads where there is more than one processor; each is different."""
    content = memoryview(bytearray(os.urandom(1 << 20)) * 16 * 5)
    for number in range(5):
        content[number * PIECE] = number
    return [content[number * PIECE : (number + 1) * PIECE] for number in range(5)]


def at_work() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "bough-digests"]


def test_they_come_in_order_whoever_works_them_out(pieces: list[memoryview]) -> None:
    assert list(digests.ahead(pieces)) == [hashlib.sha256(piece).hexdigest() for piece in pieces]
    assert list(digests.ahead([b"a", b""])) == [hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"").hexdigest()]
    assert list(digests.ahead([])) == []
    assert not at_work()


def test_once_the_writer_gives_up_nobody_reads_the_memory(pieces: list[memoryview]) -> None:
    found = digests.ahead(pieces)
    next(found)
    found.close()
    assert not at_work()


def test_what_cannot_be_hashed_is_told_to_the_writer_and_to_nobody_else(pieces: list[memoryview]) -> None:
    broken: Any = [*pieces[:2], memoryview(bytearray(2 * PIECE))[::2], *pieces[2:]]
    with pytest.raises(BufferError):
        list(digests.ahead(broken))
    assert not at_work()


def test_a_program_that_ends_right_after_a_large_save_has_saved(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np; from bough import checkpoint\n"
        "ckpt = checkpoint.open(sys.argv[1], every=1, version='1')\n"
        "ckpt.save(1, {'w': np.arange(10_000_000)})\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)
    assert manifest.steps(tmp_path) == [1]
    (shard,) = manifest.read(manifest.place(tmp_path, 1)).shards
    restoring.load_shard(tmp_path, shard)
    assert sum(ref.size for ref in shard.chunks) > 80_000_000
