"""Objects of a bucket become items, and results objects: with a server that speaks S3's protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.connectors import Bucket
from bough.adapters.connectors.s3 import S3
from bough.adapters.queue import Round, Take
from bough.kernel.errors import Invalid, TooLarge, Unavailable
from bough.kernel.queue import BucketSink, BucketSource, Queue
from tests.buckets import THERE, made, s3_server

from .test_outside import PLACE, World


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest) -> Bucket:
    return made(endpoint, request.node.name)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def source(bucket: Bucket, **fields: Any) -> Queue:
    url = f"s3://{bucket.name}/in/"
    told = {"endpoint": bucket.endpoint, "key": bucket.key, "secret": "${secrets.hook}", "every_s": 5.0}
    return Queue(handler="c", bucket=BucketSource(url=url, **told | fields))


def put(bucket: Bucket, **objects: str) -> None:
    for name, content in objects.items():
        THERE.write(bucket, f"in/{name}", content.encode(), "application/json")


def looked(world: World, times: int = 3) -> None:
    for _ in range(times):
        while world.work.once():
            pass
        world.clock.advance(6.0)


# --- the adapter


def test_objects_are_listed_in_order_after_a_key_read_written_and_removed(bucket: Bucket) -> None:
    objects = S3()
    put(bucket, **{f"{number:02}": str(number) for number in range(12)})
    THERE.write(bucket, "out/elsewhere", b"no", "text/plain")
    found = objects.listed(bucket, "in/", "in/03", 5)
    assert [each.key for each in found] == [f"in/{number:02}" for number in range(4, 9)]
    assert objects.listed(bucket, "none/", "", 5) == []
    etag, content = objects.read(bucket, "in/04", 10) or ("", b"")
    assert (etag, content) == (found[0].etag, b"4") and found[0].size == 1 and found[0].at > 1_600_000_000
    put(bucket, **{"04": "newer"})
    objects.remove(bucket, "in/04", etag)
    assert objects.read(bucket, "in/04", 10) is not None, "another one by now"
    with pytest.raises(TooLarge):
        objects.read(bucket, "in/04", 4)
    objects.remove(bucket, "in/05", found[1].etag)
    objects.remove(bucket, "in/05", found[1].etag)
    assert objects.read(bucket, "in/05", 10) is None


def test_what_is_refused_and_who_is_away_are_told_apart(bucket: Bucket) -> None:
    objects = S3()
    with pytest.raises(Invalid, match="NoSuchBucket"):
        objects.listed(Bucket(name="nobody", endpoint=bucket.endpoint, key="a", secret="b"), "", "", 1)
    with pytest.raises(Unavailable) as away:
        objects.listed(Bucket(name="nobody", endpoint="http://127.0.0.1:9", key="a", secret="s3cret"), "", "", 1)
    assert "s3cret" not in str(away.value) and "127.0.0.1" not in str(away.value)


def test_files_come_and_go_and_what_is_gone_is_none(bucket: Bucket, tmp_path: Path) -> None:
    objects, sent, came = S3(), tmp_path / "sent", tmp_path / "came"
    sent.write_bytes(bytes(range(256)) * 12_000)
    objects.send(bucket, "in/large", sent, "application/octet-stream")
    found = objects.fetch(bucket, "in/large", came)
    assert found is not None and came.read_bytes() == sent.read_bytes()
    assert [found] == objects.listed(bucket, "in/", "", 10)
    assert objects.fetch(bucket, "in/none", came) is None
    with pytest.raises(Invalid, match="NoSuchBucket"):
        objects.send(Bucket(name="nobody", endpoint=bucket.endpoint, key="a", secret="b"), "k", sent, "text/plain")


# --- sources


def test_objects_become_items_once_in_the_order_of_their_keys_and_stay(world: World, bucket: Bucket) -> None:
    world.declared[PLACE] = source(bucket)
    put(bucket, **{f"{number:03}": "1" for number in range(120)})
    looked(world)
    assert [each["key"] for each in world.waiting()] == [f"in/{number:03}" for number in range(100)]
    assert world.queues.tally()[PLACE].waiting == 120
    put(bucket, **{"200": '{"text": "late"}'})
    looked(world)
    assert world.queues.tally()[PLACE].waiting == 121
    assert len(THERE.listed(bucket, "in/", "", 1000)) == 121


def test_with_delete_every_object_becomes_an_item_and_is_gone_once_that_is_on_disk(
    world: World, bucket: Bucket
) -> None:
    world.declared[PLACE] = source(bucket, content="json", delete=True)
    put(bucket, b='{"n": 2}')
    looked(world)
    put(bucket, a='{"n": 1}', c="no json")
    looked(world)
    found = {each["key"]: each for each in world.waiting()}
    assert found["in/b"]["content"] == {"n": 2} and found["in/a"]["content"] == {"n": 1}
    assert found["in/c"]["content"] == "no json" and "is no json" in found["in/c"]["error"]
    assert THERE.listed(bucket, "in/", "", 10) == []


def test_a_server_that_dies_before_it_deletes_puts_nothing_twice(world: World, bucket: Bucket) -> None:
    class Dies(S3):
        def remove(self, bucket: Bucket, key: str, etag: str) -> None:
            raise Unavailable("killed")

    world.declared[PLACE] = source(bucket, content="text", delete=True)
    put(bucket, a="one", b="two")
    world.work._objects = Dies()
    looked(world)
    assert len(THERE.listed(bucket, "in/", "", 10)) == 2
    world.work._objects = S3()
    looked(world)
    assert [each["content"] for each in world.waiting()] == ["one", "two"]
    assert THERE.listed(bucket, "in/", "", 10) == []


def test_a_full_disk_deletes_nothing(world: World, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(work: Round) -> Any:
        raise OSError(28, "No space left on device")

    world.declared[PLACE] = source(bucket, content="text", delete=True)
    put(bucket, a="one")
    monkeypatch.setattr(world.queues, "round", full)
    assert world.work.once() == 0
    assert len(THERE.listed(bucket, "in/", "", 10)) == 1


def test_what_is_too_large_is_said_and_stays_and_holds_up_nobody(
    world: World, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bough.queues.outside.MOST_BYTES", 10)
    world.declared[PLACE] = source(bucket, content="text", delete=True)
    put(bucket, **{f"a{number:02}": "x" * 11 for number in range(60)}, z="short")
    looked(world)
    assert world.queues.tally()[PLACE].waiting == 61
    assert len(THERE.listed(bucket, "in/", "", 100)) == 60
    assert "more than 10 bytes" in world.waiting()[0]["error"]


# --- the sink


def test_results_become_objects_even_if_the_bucket_was_away(world: World, bucket: Bucket) -> None:
    told = {"key": bucket.key, "secret": "${secrets.hook}"}
    away = BucketSink(url=f"s3://{bucket.name}/out/", endpoint="http://127.0.0.1:9", **told)
    world.declared[PLACE] = Queue(handler="c", archive=away)
    id = world.end("bucket")
    assert world.work.once() == 0
    world.declared[PLACE] = Queue(handler="c", archive=BucketSink(url=away.url, endpoint=bucket.endpoint, **told))
    world.clock.advance(60.0)
    assert world.work.once() == 1
    (found,) = THERE.listed(bucket, "out/", "", 10)
    assert found.key == f"out/{id}"
    _, content = THERE.read(bucket, found.key, 1000) or ("", b"")
    assert json.loads(content) == {"label": "letter"}


def test_an_item_of_an_object_is_handed_over_as_json(world: World, bucket: Bucket) -> None:
    world.declared[PLACE] = source(bucket, content="text")
    put(bucket, a="hello")
    looked(world)
    now = world.clock.now()
    asked = [Take(place=PLACE, owner="me", count=1, until=now + 9)]
    (taken,) = world.queues.round(Round(takes=asked, now=now)).taken[0]
    assert json.loads(taken.body)["content"] == "hello" and not taken.kind
