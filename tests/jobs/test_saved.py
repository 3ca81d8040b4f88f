"""What a program has saved is in a bucket, too, and a run goes on from there: with a server that speaks S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bough import checkpoint
from bough.adapters.connectors import Bucket
from bough.adapters.engine.fake import Behaviour
from bough.jobs.many import AGAIN_S, AT_ONCE
from bough.jobs.models import FAILED, RUNNING, STOPPING, SUCCEEDED
from bough.jobs.saved import SEND_S
from bough.jobs.units import Places
from bough.jobs.unsent import Unsent, first
from bough.kernel.errors import NotFound
from tests.buckets import THERE, made, s3_server
from tests.jobs.conftest import Jobs
from tests.jobs.test_objects import Meanwhile, told

SAME = np.arange(200_000, dtype=np.float64)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest) -> Bucket:
    return made(endpoint, request.node.name)


class Arriving(Meanwhile):
    """`arrived`: keys in their order; `then` is called with each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = list[str]()
        self.then: Callable[[str], object] = len

    def send(self, bucket: Bucket, key: str, path: Path, kind: str) -> None:
        super().send(bucket, key, path, kind)
        self._came(key)

    def write(self, bucket: Bucket, key: str, content: bytes, kind: str) -> None:
        super().write(bucket, key, content, kind)
        self._came(key)

    def steps(self) -> list[int]:
        return [int(Path(key).stem) for key in self.arrived if key.endswith(".json")]

    def _came(self, key: str) -> None:
        self.arrived.append(key)
        self.then(key)


class Bench(Jobs):
    """A Bough whose job `fit` keeps its checkpoints in the bucket."""

    def __init__(self, folder: Path, bucket: Bucket) -> None:
        self.connector = Arriving()
        super().__init__(folder, objects=self.connector)
        self.call("projects.create", name="lab")
        self.call("secrets.set", project="lab", values={"s3": "s3cret"})
        told = f'endpoint = "{bucket.endpoint}", key = "somebody", secret = "${{secrets.s3}}"'
        kept = f'checkpoints = {{ url = "s3://{bucket.name}/fit/", {told} }}\n'
        self.file = 'name = "lab"\n[jobs.fit]\ncommand = "python run.py"\n' + kept
        self.does["fit"] = Behaviour(exit_after_s=25.0)

    def begin(self, **fields: object) -> str:
        id = str(self.ask("fit", self.file, **fields).id)
        self.let_pass(2.0)
        return id

    def folder(self, id: str) -> Path:
        return Places(self.bough.home).checkpoints(id)

    def save(self, id: str, *steps: int, seconds: float = SEND_S + 1.0) -> None:
        """What a program does, and the time in which it is sent."""
        ckpt = checkpoint.open(str(self.folder(id)), every=1, keep=2)
        for step in steps:
            fresh = {name: np.full(100_000, sign * step, dtype=np.float64) for name, sign in (("up", 1), ("down", -1))}
            ckpt.save(step, {"same": SAME, **fresh}, now=True)
            assert ckpt.flush()
        ckpt.close()
        self.let_pass(seconds)

    def notice(self, id: str) -> None:
        """It ends in 20 s, and its program is in no hurry."""
        self.bough.capacity.interrupt(self.lease(id), 20.0)
        self.let_pass(1.2)

    def files(self, id: str) -> set[str]:
        root = self.folder(id)
        found = [path for name in ("steps", "chunks") for path in (root / name).rglob("*") if path.is_file()]
        return {f"fit/{id}/{path.relative_to(root).as_posix()}" for path in found}

    def saved(self, id: str) -> int:
        """What a program that goes on finds."""
        ckpt = checkpoint.open(str(self.folder(id)))
        found = ckpt.restore()
        ckpt.close()
        assert not found or (np.array_equal(found.state["same"], SAME) and found.state["up"][0] == found.step)
        return found.step


@pytest.fixture
def bench(tmp_path: Path, bucket: Bucket) -> Bench:
    return Bench(tmp_path, bucket)


def keys(bucket: Bucket, id: str) -> set[str]:
    return {each.key for each in THERE.listed(bucket, f"fit/{id}/", "", 1000)}


def test_what_is_saved_is_sent_while_the_program_goes_on_and_what_gives_way_goes(bench: Bench, bucket: Bucket) -> None:
    id = bench.begin()
    bench.save(id, 1, 2)
    assert bench.run(id).state == RUNNING and keys(bucket, id) == bench.files(id) != set()
    first = {key: THERE.read(bucket, key, 1 << 24) for key in keys(bucket, id)}
    bench.save(id, 3, 4)
    assert keys(bucket, id) == bench.files(id)
    stayed = keys(bucket, id) & first.keys()
    assert stayed and not any("/steps/" in key for key in stayed), "equal arrays are one chunk, whatever the step"
    assert told(bench, id)["kept"] == f"checkpoints are in s3://{bucket.name}/fit/{id}/, too"
    [newest] = [key for key in keys(bucket, id) if key.endswith("4.json")]
    before = THERE.read(bucket, newest, 1 << 20)
    bench.save(id, 4)  # as after an interruption
    assert THERE.read(bucket, newest, 1 << 20) != before and keys(bucket, id) == bench.files(id)
    bench.save(id, 5, seconds=0.1)
    bench.let_pass(20.0)
    assert bench.run(id).state == SUCCEEDED and keys(bucket, id) == bench.files(id), "the last one has come, too"


def test_a_folder_that_is_being_cleared_takes_nothing_from_the_bucket(bench: Bench, bucket: Bucket) -> None:
    id = bench.begin()
    bench.save(id, 1, 2)
    before = keys(bucket, id)
    for name in before:
        if "/chunks/" in name:
            (bench.folder(id) / name.removeprefix(f"fit/{id}/")).unlink()
    bench.let_pass(SEND_S + 1.0)
    assert keys(bucket, id) == before


def test_a_run_whose_folder_is_gone_goes_on_from_the_bucket(bench: Bench) -> None:
    bench.does["fit"] = Behaviour(exit_after_s=20.0, code=1)
    id = bench.begin()
    bench.save(id, 7)
    bench.let_pass(20.0)
    assert bench.run(id).state == FAILED and bench.call("jobs.clear", id=id)
    assert not bench.folder(id).exists()
    bench.does["fit"] = Behaviour(exit_after_s=25.0)
    bench.call("jobs.retry", id=id)
    bench.let_pass(3.0)
    assert bench.run(id).state == RUNNING and bench.saved(id) == 7
    assert "begins at step 7, which was fetched from s3://" in " ".join(
        each.said for each in bench.call("jobs.show", id=id).timeline
    )


def test_a_run_on_another_machine_begins_with_the_newest_that_is_whole(
    bench: Bench, bucket: Bucket, tmp_path: Path
) -> None:
    id = bench.begin()
    bench.save(id, 3)
    there = Bench(tmp_path / "other", bucket)
    begun = there.begin(start_from=id)
    assert there.run(begun).state == RUNNING and there.saved(begun) == 3
    before = keys(bucket, id)
    bench.save(id, 4)
    damaged = min(key for key in keys(bucket, id) - before if "/chunks/" in key)
    THERE.write(bucket, damaged, b"something else", "text/plain")
    assert there.saved(there.begin(start_from=id)) == 3
    with pytest.raises(NotFound):
        there.ask("fit", there.file.partition("checkpoints")[0], start_from=id)
    gone = there.begin(start_from="jr_nobody")
    assert there.run(gone).state == FAILED and there.run(gone).failure["code"] == "CHECKPOINT_MISSING"


def test_what_was_not_sent_whole_cannot_be_begun_with(bench: Bench, bucket: Bucket, tmp_path: Path) -> None:
    """A server that dies, or a bucket that goes away, after any object: there is a checkpoint or there is none."""
    id = bench.begin()
    bench.save(id, 1)
    whole = len(keys(bucket, id))
    bench.connector.answers = 1  # of the chunks of the next one
    bench.save(id, 2)
    assert whole < len(keys(bucket, id)) < len(bench.files(id))
    assert "are sent later" in told(bench, id)["kept"] and bench.run(id).state == RUNNING
    there = Bench(tmp_path / "other", bucket)
    assert there.saved(there.begin(start_from=id)) == 1
    bench.connector.answers = 1000
    bench.let_pass(AGAIN_S + 1.0)
    assert keys(bucket, id) == bench.files(id)


def test_a_bucket_that_refuses_costs_no_training_and_is_said_once(bench: Bench, bucket: Bucket) -> None:
    bench.file = bench.file.replace(f"s3://{bucket.name}/", "s3://nobody-has-it/")
    id = bench.begin()
    bench.save(id, 1)
    bench.save(id, 2)
    kept = [each.said for each in bench.call("jobs.show", id=id).timeline if each.what == "kept"]
    assert len(kept) == 1 and kept[0].startswith("checkpoints are not sent: ") and "NoSuchBucket" in kept[0]
    bench.let_pass(20.0)
    assert bench.run(id).state == SUCCEEDED


def test_the_newest_goes_first(bench: Bench) -> None:
    id = bench.begin()
    bench.save(id, 1, 2)
    assert bench.connector.steps() == [2, 1]


def test_before_an_end_what_has_begun_to_go_is_left_for_the_newest(bench: Bench, bucket: Bucket) -> None:
    bench.does["fit"] = Behaviour(ignores_term=True)
    id = bench.begin()
    ckpt = checkpoint.open(str(bench.folder(id)), every=1)
    ckpt.save(1, {f"part {at}": np.full(100, at) for at in range(3 * AT_ONCE)}, now=True)
    ckpt.close()

    def meanwhile(key: str) -> None:
        bench.connector.then = len
        bench.notice(id)
        bench.save(id, 2, seconds=0.1)

    bench.connector.then = meanwhile
    bench.let_pass(SEND_S + 1.0)
    assert bench.run(id).state == STOPPING and bench.connector.steps() == [2, 1]
    before = [key for key in bench.connector.arrived if "/chunks/" in key or key.endswith("2.json")]
    newest = len([key for key in bench.files(id) if "/chunks/" in key]) - 3 * AT_ONCE
    assert before.index(next(key for key in before if key.endswith("2.json"))) <= AT_ONCE + newest
    assert len(before) == len(set(before)), "what had arrived was not sent again"


def test_before_an_end_a_save_is_sent_at_once(bench: Bench) -> None:
    bench.does["fit"] = Behaviour(ignores_term=True)
    id = bench.begin()
    bench.save(id, 1)
    bench.notice(id)
    bench.save(id, 2, seconds=0.5)
    assert bench.connector.steps() == [1, 2]
    bench.connector.answers = 0
    bench.save(id, 3, seconds=0.5)
    assert bench.connector.steps() == [1, 2] and "are sent later" in told(bench, id)["kept"]
    bench.connector.answers = 1000
    bench.let_pass(0.5)
    assert bench.run(id).state == STOPPING and bench.connector.steps() == [1, 2, 3]


def test_before_an_end_that_goes_first_which_can_arrive_and_of_those_the_newest() -> None:
    sizes = {"9": 50, "8": 30, "7": 10}
    left = [Unsent(key=key, content=b"", chunks={}, lacks_bytes=size) for key, size in sizes.items()]
    assert first(left, None, 1.0).key == "9", "nothing hurries"
    assert first(left, 3.0, 0.0).key == "9", "nobody knows how fast they go"
    assert [first(left, seconds, 10.0).key for seconds in (5.0, 3.0, 2.0, 0.5)] == ["9", "8", "7", "7"]


def test_saves_that_come_faster_than_they_go_leave_one_that_is_whole(bench: Bench, bucket: Bucket) -> None:
    id = bench.begin()
    ckpt = checkpoint.open(str(bench.folder(id)), every=1, keep=2)
    ckpt.save(1, {f"part {at}": np.full(100, at) for at in range(3 * AT_ONCE)}, now=True)
    ckpt.close()
    when_the_next_goes = list[set[str]]()

    def meanwhile(key: str) -> None:
        bench.connector.then = len
        for step in (2, 3, 4):
            ckpt = checkpoint.open(str(bench.folder(id)), every=1, keep=2)
            ckpt.save(step, {"same": SAME, "up": np.full(100_000, float(step))}, now=True)
            ckpt.close()
        assert not any(path.endswith("1.json") for path in bench.files(id)), "it has given way"
        bench.connector.then = then

    def then(key: str) -> None:
        if bench.connector.steps() and not key.endswith(".json"):
            when_the_next_goes.append(keys(bucket, id))
            bench.connector.then = len

    bench.connector.then = meanwhile
    bench.let_pass(SEND_S + 1.0)
    assert bench.connector.steps() == [1, 4, 3]
    there = when_the_next_goes[0]
    assert sum("/chunks/" in key for key in there) > 3 * AT_ONCE and any(key.endswith("1.json") for key in there)
    assert keys(bucket, id) == bench.files(id), "it is gone once a newer one is whole"
    assert not (Places(bench.bough.home).folder(id) / "sending").exists()
