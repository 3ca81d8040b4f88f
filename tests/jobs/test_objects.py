"""A job reads what is new in a bucket, once, and its Parquet files become objects: with a server that speaks S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bough.adapters.connectors import Bucket, Found
from bough.adapters.connectors.s3 import S3
from bough.adapters.engine.fake import Behaviour
from bough.jobs.many import AGAIN_S
from bough.jobs.models import BRINGING, ENDING, FAILED, RUNNING, SUCCEEDED
from bough.jobs.units import Places
from bough.kernel.errors import ProjectFileInvalid, Unavailable
from bough.kernel.project import resolve
from bough.kernel.settings import Document
from tests.buckets import THERE, made, s3_server
from tests.jobs.conftest import Jobs

LONG = Behaviour(exit_after_s=5.0)


class Meanwhile(S3):
    """Answers `answers` times. `first` is called with the key of what is about to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.answers, self.fetched, self.first = 1000, list[str](), lambda key: None

    def fetch(self, bucket: Bucket, key: str, path: Path) -> Found | None:
        self._answer(bucket)
        self.first(key)
        self.fetched.append(key)
        return super().fetch(bucket, key, path)

    def send(self, bucket: Bucket, key: str, path: Path, kind: str) -> None:
        self._answer(bucket)
        super().send(bucket, key, path, kind)

    def _answer(self, bucket: Bucket) -> None:
        self.answers -= 1
        if self.answers < 0:
            raise Unavailable(f"the bucket {bucket.name} cannot be used now", code="BUCKET_AWAY")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest) -> Bucket:
    return made(endpoint, request.node.name)


@pytest.fixture
def objects() -> Meanwhile:
    return Meanwhile()


@pytest.fixture
def jobs(tmp_path: Path, objects: Meanwhile) -> Jobs:
    jobs = Jobs(tmp_path, objects=objects)
    jobs.call("projects.create", name="lab")
    jobs.call("secrets.set", project="lab", values={"s3": "s3cret"})
    return jobs


def file(bucket: Bucket, **ends: str) -> str:
    told = f'endpoint = "{bucket.endpoint}", key = "somebody", secret = "${{secrets.s3}}"'
    text = 'name = "lab"\n[jobs.clicks]\nkind = "etl"\nretries = 0\ncommand = "python run.py"\n'
    for name, prefix in ({"source": "in/"} | ends).items():
        text += f'{name} = {{ url = "s3://{bucket.name}/{prefix}", {told} }}\n' if prefix else ""
    return text


def put(bucket: Bucket, **objects: str) -> None:
    for key, content in objects.items():
        THERE.write(bucket, f"in/{key}", content.encode(), "text/plain")


def found(jobs: Jobs, id: str) -> dict[str, str]:
    root = Places(jobs.bough.home).source(id)
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def read(jobs: Jobs, file: str) -> dict[str, str]:
    """What a run that ends well finds."""
    id = jobs.ask("clicks", file).id
    jobs.let_pass(2.0)
    assert jobs.run(id).state == SUCCEEDED
    return found(jobs, id)


def told(jobs: Jobs, id: str) -> dict[str, str]:
    return {each.what: each.said for each in jobs.call("jobs.show", id=id).timeline}


def test_each_run_reads_what_is_new_and_says_exactly_what(jobs: Jobs, bucket: Bucket) -> None:
    put(bucket, **{"a.csv": "1", "2026/b.csv": "22", "empty/": ""})
    THERE.write(bucket, "elsewhere/c.csv", b"3", "text/plain")
    assert read(jobs, file(bucket)) == {"a.csv": "1", "2026/b.csv": "22"}
    put(bucket, **{"0 earlier.csv": "0", "a.csv": "changed"})
    id = jobs.ask("clicks", file(bucket)).id
    jobs.let_pass(2.0)
    assert found(jobs, id) == {"0 earlier.csv": "0", "a.csv": "changed"}, "in whatever order the keys are"
    taken = jobs.call("jobs.objects", id=id)
    assert [(each.bucket, each.key, each.size) for each in taken] == [
        (bucket.name, "in/0 earlier.csv", 1), (bucket.name, "in/a.csv", 7)
    ]  # fmt: skip
    assert told(jobs, id)["took"] == f"2 objects, 0.0 MB, of s3://{bucket.name}/in/"
    [said] = jobs.call("runs.show", project="lab", id=jobs.run(id).run).inputs
    assert (said.kind, said.name, said.source_type) == ("outside", f"s3://{bucket.name}/in/", "s3")
    drawn = jobs.call("lineage.show", project="lab", of=f"run:{jobs.run(id).run}")
    assert ("outside", f"s3://{bucket.name}/in/", said.version) in {(e.kind, e.name, e.version) for e in drawn.things}


def test_the_program_is_told_where_they_are_and_secrets_are_nowhere(jobs: Jobs, bucket: Bucket) -> None:
    put(bucket, a="1")
    jobs.does["clicks"] = LONG
    id = jobs.ask("clicks", file(bucket)).id
    jobs.let_pass(1.0)
    spec = jobs.engine.spec(jobs.run(id).unit(0))
    assert spec.environment["BOUGH_SOURCE"] == str(Places(jobs.bough.home).source(id))
    assert "s3cret" not in str(spec) and "s3cret" not in str(jobs.run(id)) + str(jobs.call("jobs.show", id=id))


def test_where_nothing_is_new_the_program_is_not_started(jobs: Jobs, bucket: Bucket) -> None:
    id = jobs.ask("clicks", file(bucket)).id
    jobs.let_pass(1.0)
    run = jobs.run(id)
    assert (run.state, run.said, run.attempt) == (SUCCEEDED, f"nothing is new in s3://{bucket.name}/in/", 0)


def test_two_runs_at_once_share_what_is_new_and_what_one_failed_with_the_next_one_reads(
    jobs: Jobs, bucket: Bucket
) -> None:
    put(bucket, a="1")
    jobs.does["clicks"] = Behaviour(exit_after_s=2.0, code=1)
    first = jobs.ask("clicks", file(bucket)).id
    jobs.let_pass(1.0)
    assert jobs.run(first).state == RUNNING
    put(bucket, b="2")
    jobs.does["clicks"] = jobs.normally
    assert read(jobs, file(bucket)) == {"b": "2"}
    jobs.let_pass(3.0)
    assert jobs.run(first).state == FAILED
    put(bucket, c="3")
    assert read(jobs, file(bucket)) == {"a": "1", "c": "3"}
    jobs.call("jobs.retry", id=first)
    jobs.let_pass(2.0)
    assert jobs.run(first).state == SUCCEEDED and found(jobs, first) == {}, "others have read what it had"


def test_a_run_that_is_taken_up_again_reads_the_same(jobs: Jobs, bucket: Bucket) -> None:
    put(bucket, a="1")
    jobs.does["clicks"] = Behaviour(exit_after_s=0.2, code=1)
    id = jobs.ask("clicks", file(bucket)).id
    jobs.let_pass(2.0)
    assert jobs.run(id).state == FAILED
    put(bucket, b="2")
    jobs.does["clicks"] = jobs.normally
    jobs.call("jobs.retry", id=id)
    jobs.let_pass(2.0)
    assert jobs.run(id).state == SUCCEEDED and found(jobs, id) == {"a": "1"}
    assert read(jobs, file(bucket)) == {"b": "2"}


def test_a_bucket_that_is_away_is_waited_for_and_nothing_is_fetched_twice(
    jobs: Jobs, bucket: Bucket, objects: Meanwhile
) -> None:
    put(bucket, **{f"{number:02}": str(number) for number in range(30)})
    objects.answers = 16
    id = jobs.ask("clicks", file(bucket)).id
    jobs.let_pass(1.0)
    assert jobs.run(id).state == BRINGING and "cannot be used now" in jobs.run(id).said
    assert jobs.running() == [] and jobs.bough.capacity.leases() == [], "nothing is rented for a wait"
    put(bucket, **{"99": "came later"})
    objects.answers = 1000
    jobs.let_pass(AGAIN_S + 2.0)
    assert jobs.run(id).state == SUCCEEDED
    assert sorted(objects.fetched) == [f"in/{number:02}" for number in range(30)]
    assert found(jobs, id) == {f"{number:02}": str(number) for number in range(30)}, "what it took when it began"


def test_a_server_that_dies_while_it_reads_goes_on_with_what_it_had_taken(
    jobs: Jobs, bucket: Bucket, objects: Meanwhile
) -> None:
    def first(key: str) -> None:
        if key == "in/12" and key not in met:
            met.append(key)
            raise RuntimeError("killed")

    met = list[str]()
    put(bucket, **{f"{number:02}": str(number) for number in range(20)})
    objects.first = first
    id = jobs.ask("clicks", file(bucket)).id
    jobs.let_pass(0.2)
    put(bucket, **{"99": "came later"})
    jobs.let_pass(70.0)
    assert met and jobs.run(id).state == SUCCEEDED
    assert found(jobs, id) == {f"{number:02}": str(number) for number in range(20)}


def test_what_was_written_again_or_removed_since_it_was_listed_is_said_as_it_was_read(
    jobs: Jobs, bucket: Bucket, objects: Meanwhile
) -> None:
    def first(key: str) -> None:
        if key == "in/a":
            THERE.write(bucket, key, b"newer", "text/plain")
        if key == "in/b":
            THERE._client(bucket).delete_object(Bucket=bucket.name, Key=key)

    put(bucket, a="1", b="2", c="3")
    objects.first = first
    id = jobs.ask("clicks", file(bucket)).id
    jobs.let_pass(2.0)
    assert found(jobs, id) == {"a": "newer", "c": "3"}
    assert [(each.key, each.size) for each in jobs.call("jobs.objects", id=id)] == [("in/a", 5), ("in/c", 1)]
    again = jobs.ask("clicks", file(bucket)).id
    jobs.let_pass(1.0)
    assert jobs.run(again).said.startswith("nothing is new")


@pytest.mark.parametrize("ends", [{"source": "in/"}, {"source": "", "target": "out/"}])
def test_a_bucket_that_refuses_ends_the_run_and_says_what_to_look_at(
    jobs: Jobs, bucket: Bucket, ends: dict[str, str]
) -> None:
    jobs.does["clicks"] = LONG
    id = jobs.ask("clicks", file(bucket, **ends).replace(f"s3://{bucket.name}/", "s3://nobody-has-it/")).id
    jobs.let_pass(1.0)
    if "target" in ends:
        write(jobs, id, "rows.parquet", b"PAR1")
        jobs.let_pass(6.0)
    run = jobs.run(id)
    assert run.state == FAILED and "NoSuchBucket" in run.said and run.failure["code"] == "BUCKET_REFUSED"


def test_a_secret_that_is_not_there_is_named_before_anything_runs_and_by_a_run_that_lost_it(
    jobs: Jobs, bucket: Bucket
) -> None:
    for key in ("source", "target", "checkpoints"):
        text = file(bucket, **({"source": ""} | {key: "in/"})).replace("secrets.s3", "secrets.other")
        with pytest.raises(ProjectFileInvalid, match=rf"bough.toml:6: jobs.clicks.{key}: there is no secret 'other'"):
            jobs.ask("clicks", text)
    jobs.call("secrets.set", project="lab", values={"other": "s3cret"})
    id = jobs.ask("clicks", file(bucket).replace("secrets.s3", "secrets.other")).id
    jobs.call("secrets.remove", project="lab", name="other")
    jobs.let_pass(1.0)
    assert jobs.run(id).state == FAILED and "other" in jobs.run(id).said
    assert jobs.run(id).failure["code"] == "SECRET_NOT_FOUND"


def test_keys_that_make_no_file_are_named(jobs: Jobs, bucket: Bucket) -> None:
    put(bucket, **{"../a": "1"})
    id = jobs.ask("clicks", file(bucket)).id
    jobs.let_pass(1.0)
    assert jobs.run(id).failure["code"] == "SOURCE_KEY_UNUSABLE" and "in/../a" in jobs.run(id).said


# --- the target


def write(jobs: Jobs, id: str, name: str, content: bytes) -> None:
    path = Places(jobs.bough.home).output(id) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_parquet_files_become_objects_once_and_all_files_artifacts(
    jobs: Jobs, bucket: Bucket, objects: Meanwhile
) -> None:
    jobs.does["clicks"] = Behaviour(exit_after_s=1.5)
    objects.answers = 1
    id = jobs.ask("clicks", file(bucket, source="", target="out/")).id
    jobs.let_pass(1.0)
    for name in ("a.parquet", "day=1/b.parquet", "notes.txt"):
        write(jobs, id, name, f"rows of {name}".encode())
    jobs.let_pass(2.0)
    assert jobs.run(id).state == ENDING and "cannot be used now" in jobs.run(id).said
    objects.answers = 1
    jobs.let_pass(AGAIN_S + 2.0)
    assert jobs.run(id).state == SUCCEEDED and objects.answers == 0, "what had arrived is not sent again"
    keys = [f"out/{id}/a.parquet", f"out/{id}/day=1/b.parquet"]
    assert [each.key for each in THERE.listed(bucket, "out/", "", 10)] == keys
    assert THERE.read(bucket, keys[1], 100) is not None
    assert told(jobs, id)["sent"] == f"2 Parquet files, 0.0 MB, to s3://{bucket.name}/out/{id}/"
    files = jobs.call("artifacts.list", project="lab", owner=jobs.run(id).run, all=True)
    assert [each.path for each in files] == ["a.parquet", "day=1/b.parquet", "notes.txt"]


def test_what_could_not_be_sent_and_then_fails_has_failed_wherever_it_is_asked(jobs: Jobs, bucket: Bucket) -> None:
    jobs.does["clicks"] = Behaviour(exit_after_s=2.0)
    id = jobs.ask(
        "clicks", file(bucket, source="", target="out/").replace(f"s3://{bucket.name}/", "s3://nobody-has-it/")
    ).id
    jobs.let_pass(1.0)
    (Places(jobs.bough.home).output(id) / "day.parquet").write_bytes(b"PAR1")
    jobs.let_pass(4.0)
    assert jobs.run(id).state == FAILED and "could not be sent" in jobs.run(id).said
    jobs.does["clicks"] = Behaviour(exit_after_s=0.5, code=1)
    jobs.call("jobs.retry", id=id)
    jobs.let_pass(3.0)
    assert jobs.run(id).state == FAILED and jobs.run(id).said == "exit status 1"
    assert jobs.call("runs.show", project="lab", id=jobs.run(id).run).status == "failed"


def test_what_a_branch_makes_goes_nowhere(jobs: Jobs, bucket: Bucket) -> None:
    jobs.deploy(file(bucket, source="", target="out/"))
    jobs.call("environments.create", project="lab", branch="try")
    jobs.does["clicks"] = LONG
    id = jobs.call("jobs.run", project="lab", job="clicks", environment="try").id
    jobs.let_pass(1.0)
    write(jobs, id, "a.parquet", b"rows")
    jobs.let_pass(6.0)
    assert jobs.run(id).state == SUCCEEDED and "schedules of try rest" in told(jobs, id)["sent"]
    assert THERE.listed(bucket, "out/", "", 10) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('source = { url = "landing/clicks" }', "no s3://BUCKET/PREFIX"),
        ('target = { url = "s3://landing/", endpoint = "minio" }', "no http or https address"),
        ('source = { url = "s3://landing/" }\narray = 3', "its objects go to one run"),
        ('source = { url = "s3://landing/", secret = "${secrets.}" }', "secrets."),
    ],
)
def test_a_mistake_is_said_where_it_was_made(line: str, said: str) -> None:
    with pytest.raises(ProjectFileInvalid) as caught:
        resolve(Document(f'name = "lab"\n[jobs.clicks]\nkind = "etl"\ncommand = "x"\n{line}\n'))
    assert said in caught.value.message and str(caught.value.fields["key"]).startswith("jobs.clicks.")
