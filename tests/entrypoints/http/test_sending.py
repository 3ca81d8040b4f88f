"""Blobs over a real socket, out of files: known to be whole, or hashed while they are sent."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bough.adapters.blobs.directory import DirectoryBlobs
from tests.entrypoints.http.toys import Served, Toy

BIG = os.urandom(1 << 20) * 30  # more than sockets hold by themselves


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "blobs")


@pytest.fixture
def served(tmp_path: Path, blobs: DirectoryBlobs) -> Iterator[Served]:
    toy = Toy(tmp_path)
    toy.blobs = blobs  # type: ignore[assignment] # it has others by itself
    made = Served(toy)
    yield made
    made.stop()


@pytest.fixture(params=[True, False], ids=["known", "hashed"])
def digest(request: pytest.FixtureRequest, served: Served, blobs: DirectoryBlobs) -> str:
    made = blobs.put(BIG)
    if not request.param:  # as after a start
        served.toy.blobs = DirectoryBlobs(blobs.root)  # type: ignore[assignment]
    with served.toy.blobs.open(made, afresh=False) as stream:
        assert stream.seekable() == request.param
    return made


def get(served: Served, digest: str, method: str = "GET", **headers: str) -> http.client.HTTPConnection:
    line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    line.request(method, f"/api/v1/blobs/{digest}", headers={"Authorization": "Bearer viewer-token", **headers})
    return line


def open_files(path: Path) -> int:
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        try:
            found += each.readlink() == path
        except FileNotFoundError:
            continue
    return found


def test_a_blob_comes_whole_from_a_byte_on_or_only_its_head(served: Served, digest: str) -> None:
    with closing(get(served, digest)) as line:
        whole = line.getresponse()
        assert (whole.status, whole.headers["Content-Length"], whole.read() == BIG) == (200, str(len(BIG)), True)
        line.request("GET", "/healthz")  # the connection is kept
        assert line.getresponse().read()
    for start in (1, 1 << 20, len(BIG) - 1):
        with closing(get(served, digest, Range=f"bytes={start}-")) as line:
            part = line.getresponse()
            assert (part.status, part.headers["Content-Length"]) == (206, str(len(BIG) - start))
            assert part.read() == BIG[start:]
    with closing(get(served, digest, "HEAD")) as line:
        head = line.getresponse()
        assert (head.status, head.headers["Content-Length"], head.read()) == (200, str(len(BIG)), b"")
        line.request("GET", "/healthz")
        assert line.getresponse().read()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_byte_that_another_program_changes_never_arrives_looking_well(
    served: Served, blobs: DirectoryBlobs, digest: str, when: str
) -> None:
    def harm() -> None:
        path = blobs.path(digest)
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(bytes([BIG[-1] ^ 1]))

    if when == "before":
        harm()
    with closing(get(served, digest)) as line:
        answer = line.getresponse()
        answer.read(1000)
        if when == "meanwhile":
            harm()
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert blobs.missing([digest]) == [digest] and list((blobs.root / "damaged").iterdir())


def test_a_blob_that_is_deleted_while_it_is_sent_arrives_whole(
    served: Served, blobs: DirectoryBlobs, digest: str
) -> None:
    with closing(get(served, digest)) as line:
        answer = line.getresponse()
        begun = answer.read(1000)
        assert blobs.delete(digest)
        assert begun + answer.read() == BIG
    with closing(get(served, digest)) as line:
        assert line.getresponse().status == 404


def test_a_reader_that_goes_leaves_nothing_open(served: Served, blobs: DirectoryBlobs, digest: str) -> None:
    with closing(get(served, digest)) as line:
        line.getresponse().read(1000)
        assert open_files(blobs.path(digest)) == 1
    deadline = time.monotonic() + 60
    while open_files(blobs.path(digest)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with closing(get(served, digest)) as line:
        assert line.getresponse().read() == BIG
