"""One body over all technologies of `Blobs`; below it, what only a directory can suffer."""

from __future__ import annotations

import hashlib
import io
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.adapters.blobs import Blobs
from bough.adapters.blobs import known as known_files
from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.blobs.known import status
from bough.adapters.blobs.memory import MemoryBlobs
from bough.kernel.errors import Conflict, Exhausted, Invalid, NotFound, Problem
from tests.programs import OURS

ABSENT = "0" * 64
Make = Callable[[Path], DirectoryBlobs | MemoryBlobs]


@pytest.fixture(params=[DirectoryBlobs, lambda root: MemoryBlobs()], ids=["directory", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> DirectoryBlobs | MemoryBlobs:
    make: Make = request.param
    return make(tmp_path / "blobs")


def damage(blobs: Blobs, digest: str) -> None:
    if isinstance(blobs, MemoryBlobs):
        blobs.damage(digest)
    else:
        path = blobs.local_path(digest)
        assert path
        path.chmod(0o644)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("content", [b"", b"x", b"line\n" * 1_000_000], ids=["empty", "one", "5MB"])
def test_what_goes_in_comes_out_under_its_sha256(blobs: Blobs, content: bytes) -> None:
    digest = blobs.put(io.BytesIO(content))
    assert digest == hashlib.sha256(content).hexdigest()
    assert (blobs.has(digest), blobs.size(digest), blobs.read(digest)) == (True, len(content), content)
    with blobs.open(digest) as stream:
        assert stream.read(1) + stream.read() == content


def test_the_same_bytes_twice_are_one_blob(blobs: Blobs) -> None:
    assert blobs.put(b"same") == blobs.put(io.BytesIO(b"same"))


def test_only_what_the_stream_still_has_is_stored(blobs: Blobs) -> None:
    stream = io.BytesIO(b"head body")
    stream.seek(5)
    assert blobs.read(blobs.put(stream)) == b"body"


def test_content_other_than_announced_is_refused_and_not_kept(blobs: Blobs) -> None:
    with pytest.raises(Invalid) as caught:
        blobs.put(b"something", expect=ABSENT)
    assert caught.value.own_code == "DIGEST_MISMATCH"
    assert not blobs.has(ABSENT) and not blobs.has(hashlib.sha256(b"something").hexdigest())
    assert blobs.put(b"something", expect=hashlib.sha256(b"something").hexdigest())


def test_missing_lists_each_absent_digest_once_in_order(blobs: Blobs) -> None:
    here = blobs.put(b"here")
    assert blobs.missing(["f" * 64, here, ABSENT, "f" * 64]) == ["f" * 64, ABSENT]


def test_an_absent_blob_is_not_found(blobs: Blobs) -> None:
    for ask in (blobs.open, blobs.read, blobs.size, blobs.local_path):
        with pytest.raises(NotFound):
            ask(ABSENT)


def test_a_link_shows_the_blob_or_is_not_made(blobs: Blobs, tmp_path: Path) -> None:
    digest, place = blobs.put(b"linked"), tmp_path / "place"
    if blobs.link(digest, str(place)):
        assert place.read_bytes() == b"linked" and place.stat().st_ino == blobs.local_path(digest).stat().st_ino  # type: ignore[union-attr]
        with pytest.raises(FileExistsError):
            blobs.link(digest, str(place))
        with pytest.raises(FileNotFoundError):
            blobs.link(digest, str(tmp_path / "no/folder"))
    else:
        assert not place.exists()
    with pytest.raises(NotFound):
        blobs.link(ABSENT, str(tmp_path / "other"))


def test_delete_is_final_and_may_be_repeated(blobs: Blobs) -> None:
    digest = blobs.put(b"gone soon")
    blobs.delete(digest)
    blobs.delete(digest)
    assert not blobs.has(digest)


@pytest.mark.parametrize("bad", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "a" * 62 + "/."])
def test_what_is_no_digest_is_refused_everywhere(blobs: Blobs, bad: str) -> None:
    for ask in (blobs.open, blobs.read, blobs.has, blobs.size, blobs.delete, blobs.local_path):
        with pytest.raises(Invalid):
            ask(bad)
    with pytest.raises(Invalid):
        blobs.missing([bad])


def test_a_damaged_blob_is_named_and_can_be_sent_again(blobs: Blobs) -> None:
    digest = blobs.put(b"a" * 3_000_000)
    damage(blobs, digest)
    with pytest.raises(Problem) as caught:
        blobs.read(digest)
    assert caught.value.own_code == "BLOB_DAMAGED" and digest in caught.value.message
    assert blobs.missing([digest]) == [digest]
    assert blobs.put(b"a" * 3_000_000) == digest
    assert blobs.read(digest) == b"a" * 3_000_000


def test_a_batch_is_there_when_it_ends(blobs: Blobs) -> None:
    with blobs.batch() as batch, ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(lambda n: batch.put(io.BytesIO(b"%d" % (n % 50))), range(200)))
    assert blobs.missing(digests) == [] and blobs.read(digests[7]) == b"7"
    with pytest.raises(Invalid), blobs.batch() as batch:
        batch.put(b"one")
        batch.put(b"two", expect=ABSENT)
    assert not blobs.has(hashlib.sha256(b"one").hexdigest())


def test_a_batch_that_fails_keeps_nothing_of_its_own(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    with pytest.raises(KeyboardInterrupt), blobs.batch() as batch:
        batch.put(b"one")
        raise KeyboardInterrupt
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class Cut(io.BytesIO):
    """A sender that goes away after `after` bytes."""

    def __init__(self, content: bytes, after: int) -> None:
        super().__init__(content)
        self._after = after

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self._after:
            raise ConnectionResetError("gone")
        return super().read(min(size or 0, self._after - self.tell()))


def test_a_blob_that_came_in_part_goes_on_where_it_stopped(blobs: Blobs) -> None:
    content = os.urandom(3_000_000)
    digest = hashlib.sha256(content).hexdigest()
    assert blobs.partial(digest) == 0
    with pytest.raises(ConnectionResetError):
        blobs.resume(digest, Cut(content, 1_000_000), 0)
    assert blobs.partial(digest) == 1_000_000 and not blobs.has(digest)
    with pytest.raises(Conflict) as caught:
        blobs.resume(digest, io.BytesIO(content), 0)
    assert (caught.value.own_code, caught.value.fields["offset"]) == ("OFFSET_WRONG", 1_000_000)
    assert blobs.resume(digest, io.BytesIO(content[1_000_000:]), 1_000_000) == len(content)
    assert (blobs.read(digest), blobs.partial(digest)) == (content, 0)


def test_a_blob_in_parts_that_do_not_belong_together_is_refused_and_begins_anew(blobs: Blobs) -> None:
    digest = hashlib.sha256(b"right").hexdigest()
    with pytest.raises(ConnectionResetError):
        blobs.resume(digest, Cut(b"wrong", 3), 0)
    with pytest.raises(Invalid):
        blobs.resume(digest, io.BytesIO(b"ht"), 3)
    assert (blobs.partial(digest), blobs.has(digest)) == (0, False)


def test_everything_held_is_listed_with_its_size_and_last_use(blobs: Blobs) -> None:
    before = time.time() - 1
    digests = {blobs.put(b"one"), blobs.put(b"three")}
    assert {(each.digest, each.size) for each in blobs.held()} == set(
        zip(sorted(digests, key=blobs.size), (3, 5), strict=True)
    )
    assert all(before <= each.used_at <= time.time() + 1 for each in blobs.held())


def test_what_was_used_since_is_not_deleted(blobs: Blobs) -> None:
    digest = blobs.put(b"in use")
    assert not blobs.delete(digest, unless_used_since=time.time() - 60) and blobs.has(digest)
    assert blobs.delete(digest, unless_used_since=time.time() + 60) and not blobs.has(digest)
    assert not blobs.delete(digest, unless_used_since=time.time() + 60)


def test_many_writers_of_one_blob_agree(blobs: Blobs) -> None:
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: blobs.put(b"shared" * 50_000), range(32)))
    assert len(digests) == 1 and blobs.read(digests.pop()) == b"shared" * 50_000


@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=5000), sizes=st.lists(st.integers(1, 700), min_size=1, max_size=8))
def test_any_way_of_reading_gives_the_same_bytes(content: bytes, sizes: list[int]) -> None:
    blobs = MemoryBlobs()
    got = b""
    with blobs.open(blobs.put(content)) as stream:
        for size in sizes:
            got += stream.read(size)
        got += stream.read()
    assert got == content


def test_a_half_written_file_never_counts(tmp_path: Path) -> None:
    """A crash of the machine can cut off a file that was renamed: another size is replaced."""
    blobs = DirectoryBlobs(tmp_path)
    digest = blobs.put(b"complete")
    path = blobs.local_path(digest)
    assert path
    path.chmod(0o644)
    path.write_bytes(b"comp")
    blobs.put(b"complete")
    assert blobs.read(digest) == b"complete"


def test_blobs_are_read_only_and_share_one_time(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    paths = [blobs.local_path(blobs.put(content)) for content in (b"1", b"2")]
    assert [p.stat().st_mode & 0o777 for p in paths if p] == [0o444, 0o444]
    assert len({p.stat().st_mtime_ns for p in paths if p}) == 1


def test_a_full_disk_is_exhausted_and_leaves_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the full disk: the write fails part of the way, as it would there."""
    blobs = DirectoryBlobs(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(Exhausted) as caught:
            blobs.put(io.BytesIO(os.urandom(3 << 20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert str(tmp_path) in caught.value.message and caught.value.own_code == "DISK_FULL"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_full_file_system_is_exhausted_and_heals_when_space_returns(tmp_path: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mount is not allowed here")
    try:
        blobs = DirectoryBlobs(tmp_path)
        first = blobs.put(os.urandom(1 << 20))
        big = os.urandom(3 << 19)
        with pytest.raises(Exhausted):
            blobs.put(big)
        assert blobs.size(first) == 1 << 20 and not list((tmp_path / "incoming").iterdir())
        blobs.delete(first)
        assert blobs.read(blobs.put(big)) == big
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a read-only mount needs root; permission bits do not stop root")
def test_a_read_only_directory_is_exhausted_and_still_readable(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    digest = blobs.put(b"before")
    if subprocess.run(["mount", "--bind", "-o", "ro", tmp_path, tmp_path], check=False, capture_output=True).returncode:
        pytest.skip("mount is not allowed here")
    try:
        with pytest.raises(Exhausted) as caught:
            blobs.put(b"after")
        assert caught.value.own_code == "NOT_WRITABLE" and "ls -ld" in caught.value.hint
        assert blobs.read(digest) == b"before"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


WRITER = """
import os, sys
from pathlib import Path
from bough.adapters.blobs.directory import DirectoryBlobs
blobs = DirectoryBlobs(Path(sys.argv[1]))
print("go", flush=True)
while True:
    with blobs.batch() as batch:
        for seed in range(100, 140):
            batch.put(bytes([seed]) * 100_000)
    for seed in range(50):
        blobs.put(bytes([seed]) * 200_000)
        blobs.delete(__import__("hashlib").sha256(bytes([seed]) * 200_000).hexdigest()) if seed % 2 else None
"""


def test_killed_writers_leave_only_whole_blobs(tmp_path: Path) -> None:
    """kill -9 at 15 seeded moments; whatever is there afterwards reads correctly, and the rest is swept."""
    rng = random.Random(7)
    blobs = DirectoryBlobs(tmp_path)
    for _ in range(15):
        process = OURS.start(WRITER, tmp_path)
        assert process.stdout.readline() == "go\n"
        time.sleep(rng.random() * 0.05)
        process.kill()
        process.wait()
        for path in (tmp_path / "sha256").rglob("*"):
            if path.is_file():
                blobs.read(path.parent.name + path.name)
    for path in (tmp_path / "incoming").iterdir():
        os.utime(path, (0, 0))
    left = len(list((tmp_path / "incoming").iterdir()))
    assert blobs.sweep() == left and not list((tmp_path / "incoming").iterdir())


def test_sweeping_spares_a_writer_at_work(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            for path in (tmp_path / "incoming").iterdir():
                os.utime(path, (0, 0))
            assert blobs.sweep() == 0
            return super().read(size)

    assert blobs.read(blobs.put(Slow(b"slow"))) == b"slow"


# --- what is known of a file


BIG = bytes(range(256)) * 12_000  # 3 MB


def flip(path: Path, at: int = -1) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        [was] = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([was ^ 1]))


def is_known(blobs: DirectoryBlobs, digest: str) -> bool:
    with blobs.open(digest, afresh=False) as stream:
        return stream.seekable()


def test_what_was_hashed_lately_and_not_written_since_is_read_from_anywhere(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    digest = blobs.put(BIG)
    assert is_known(blobs, digest)  # it was hashed while it was written
    assert blobs.missing([digest]) == [] and blobs.put(BIG) == digest and is_known(blobs, digest)
    with blobs.open(digest, afresh=False) as stream:
        stream.seek(2_000_000)
        assert stream.read() == BIG[2_000_000:]
    later = DirectoryBlobs(tmp_path)  # as another process
    assert not is_known(later, digest)
    assert later.read(digest) == BIG and is_known(later, digest)
    assert later.link(digest, str(tmp_path / "link")) and not is_known(later, digest)
    assert not is_known(blobs, blobs.put(b"small"))


@pytest.mark.parametrize("cover", [False, True], ids=["plainly", "times put back"])
def test_a_byte_that_was_changed_in_a_known_blob_is_found(tmp_path: Path, cover: bool) -> None:
    blobs = DirectoryBlobs(tmp_path)
    digest = blobs.put(BIG)
    before = blobs.path(digest).stat()
    flip(blobs.path(digest), 1000)
    if cover:
        blobs.path(digest).chmod(0o444)
        os.utime(blobs.path(digest), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert blobs.missing([digest]) == []  # use moves the change time, and covers nothing up
    with pytest.raises(Problem, match="no longer holds"), blobs.open(digest, afresh=False) as stream:
        stream.read()
    assert blobs.missing([digest]) == [digest]


def test_a_known_blob_that_changes_while_it_is_read_does_not_end_well(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    for harm in (lambda path: flip(path, 10), lambda path: os.truncate(path, 2_000_000)):
        digest = blobs.put(BIG)
        with pytest.raises(Problem, match="no longer holds"), blobs.open(digest, afresh=False) as stream:
            assert stream.seekable() and stream.read(1000) == BIG[:1000]
            harm(blobs.path(digest))
            stream.read()


def test_a_known_blob_that_is_linked_used_or_deleted_while_it_is_read_comes_back_whole(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    digest = blobs.put(BIG)
    link = str(tmp_path / "link")
    for act in (lambda: blobs.link(digest, link), lambda: blobs.missing([digest]), lambda: blobs.delete(digest)):
        assert blobs.read(digest) == BIG
        with blobs.open(digest, afresh=False) as stream:
            assert stream.seekable() and stream.read(1000) == BIG[:1000]
            act()
            assert stream.read() == BIG[1000:]


def test_what_no_status_tells_is_found_by_whoever_reads_afresh(tmp_path: Path) -> None:
    """A disk that gives other bytes than it was given, as if it had happened after the last hash."""
    blobs = DirectoryBlobs(tmp_path)
    digest = blobs.put(BIG)
    flip(blobs.path(digest))
    blobs._known.note(digest, status(blobs.path(digest)))
    with blobs.open(digest, afresh=False) as stream:
        assert stream.read()[:-1] == BIG[:-1]
    for read in (blobs.read, lambda digest: blobs.open(digest).read()):
        with pytest.raises(Problem, match="no longer holds"):
            read(digest)
        blobs.put(BIG)
        flip(blobs.path(digest))
        blobs._known.note(digest, status(blobs.path(digest)))


def test_what_is_known_is_forgotten_after_an_hour_and_when_there_is_too_much(tmp_path: Path) -> None:
    now = 0.0
    known, at_hand = known_files.Known(lambda: now), known_files.Status(1, 2, 3 << 20, 4, 5)
    known.note("one", at_hand)
    known.changed("one", at_hand, at_hand._replace(changed_ns=6))
    assert known.holds("one", at_hand._replace(changed_ns=6)) and not known.holds("one", at_hand)
    known.changed("one", at_hand._replace(changed_ns=6), at_hand._replace(written_ns=7))
    assert not known.holds("one", at_hand._replace(written_ns=7))
    now = known_files.KNOWN_FOR_S  # since it was hashed, however often it was used
    assert not known.holds("one", at_hand._replace(changed_ns=6))
    for number in range(known_files.KNOWN_AT_MOST + 1):
        known.note(str(number), at_hand)
    assert not known.holds("0", at_hand) and known.holds("1", at_hand)
