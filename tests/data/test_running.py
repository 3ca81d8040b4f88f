"""`bough data run`, as a person sees it: a program works on a dataset, and what it did comes back as one change."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.app import Bough
from bough.client import Client
from bough.client.inprocess import InProcess
from bough.data import trees
from bough.entrypoints.cli.main import run
from bough.entrypoints.cli.session import Session
from bough.kernel.context import SYSTEM
from bough.kernel.errors import Conflict
from bough.kernel.platform import Platform
from tests.plane import laid

Data = Callable[..., Any]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Bough]:
    made = Bough(laid(tmp_path / "home"), Platform(), durable=False)
    yield made
    made.database.close()


@pytest.fixture
def data(platform: Bough, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Data:
    """`data("run", …)` gives the JSON answer, the last line of the output; a dataset `images` is there."""
    work = tmp_path / "work"
    (work / "images/sub").mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("BOUGH_HOME", str(tmp_path / "home"))
    (work / "bough.toml").write_text('name = "shop"\n')
    for path in ("a", "b", "sub/c"):
        (work / "images" / path).write_text(path)

    def call(*words: str, code: int = 0, group: str = "data") -> Any:
        session = Session()
        session.use(Client(transport=InProcess(platform.operations, SYSTEM, platform.blobs)))
        at = words.index("--") if "--" in words else len(words)
        assert run([group, *words[:at], "--json", *words[at:]], session) == code, capfd.readouterr()
        call.said = capfd.readouterr()  # type: ignore[attr-defined]
        return json.loads(call.said.out.splitlines()[-1])  # type: ignore[attr-defined]

    call("put", "images")
    return call


@pytest.fixture(params=["clone", "overlay", "copy"])
def how(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    way = next(each for each in trees.ways(tmp_path) if each.name == request.param)
    if not way.available:
        pytest.skip(f"no {request.param} here: {way.why_not}")
    return str(request.param)


def contents(data: Data, tmp_path: Path, *at: str) -> dict[str, str]:
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    data("get", "images", str(out), *at)
    return {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}


def leftovers(tmp_path: Path) -> list[Path]:
    return [*(tmp_path / "home/run/trees").iterdir()]


def test_a_program_reads_a_dataset(data: Data, tmp_path: Path) -> None:
    done = data("run", "images", "--", "sh", "-c", "cat $BOUGH_DATA/sub/c; cat $0/a; echo", "{}")
    assert data.said.out.startswith("sub/ca") and done["files"] == 3  # type: ignore[attr-defined]
    assert leftovers(tmp_path) == []


def test_what_a_program_does_is_one_change_when_it_ends_well(data: Data, tmp_path: Path, how: str) -> None:
    script = "cd $BOUGH_DATA && echo more >> a && rm b && mkdir new && echo n > new/n && rm -r sub && echo s > sub"
    data("run", "images", "--writable", "--how", how, "--", "sh", "-c", script)
    assert contents(data, tmp_path) == {"a": "a", "b": "b", "sub/c": "sub/c"}
    done = data("run", "images", "--commit", "-m", "tidied", "--how", how, "--", "sh", "-c", script)
    assert (done["how"], done["written"], done["removed"]) == (how, 3, 2)
    assert contents(data, tmp_path) == {"a": "amore\n", "new/n": "n\n", "sub": "s\n"}
    newest, first = data("log", "images")
    assert (newest["why"], newest["change"]) == ("tidied", done["change"]) and first["written"] == 3
    assert data("run", "images", "--commit", "--how", how, "--", "true")["change"] == 0
    assert leftovers(tmp_path) == []


def test_a_program_that_fails_commits_nothing(data: Data, tmp_path: Path, how: str) -> None:
    script = "echo x > $BOUGH_DATA/a; exit 7"
    failed = data("run", "images", "--commit", "--how", how, "--", "sh", "-c", script, code=8)["error"]
    assert (failed["code"], failed["fields"]["status"]) == ("COMMAND_FAILED", 7) and "gone" in failed["message"]
    assert contents(data, tmp_path)["a"] == "a" and leftovers(tmp_path) == []
    kept = data("run", "images", "--commit", "--keep", "--how", how, "--", "sh", "-c", script, code=8)["error"]
    folder = Path(kept["message"].rpartition(" in ")[2])
    assert (folder / "a").read_text() == "x\n" and contents(data, tmp_path)["a"] == "a"
    killed = data("run", "images", "--commit", "--how", how, "--", "sh", "-c", "kill -9 $$", code=8)["error"]
    assert "signal 9" in killed["message"]


def test_work_is_kept_when_the_dataset_has_moved_meanwhile(
    data: Data, platform: Bough, tmp_path: Path, how: str
) -> None:
    """The program waits until another client has committed the same file."""
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"

    def other() -> None:
        while not begun.exists():
            time.sleep(0.01)
        digest = platform.blobs.put(b"theirs")
        file = {"path": "a", "digest": digest, "size": 6}
        platform.operations.call("files.commit", {"project": "shop", "dataset": "images", "files": [file]}, SYSTEM)
        go_on.touch()

    script = f"touch {begun}; while ! test -e {go_on}; do sleep 0.01; done; echo ours > $BOUGH_DATA/$1"
    for path, code in (("a", 5), ("b", 0)):
        begun.unlink(missing_ok=True)
        go_on.unlink(missing_ok=True)
        client = threading.Thread(target=other)
        client.start()
        done = data("run", "images", "--commit", "--how", how, "--", "sh", "-c", script, "sh", path, code=code)
        client.join()
    assert contents(data, tmp_path) == {"a": "theirs", "b": "ours\n", "sub/c": "sub/c"} and done["written"] == 1
    (kept,) = leftovers(tmp_path)
    assert [path.read_text() for path in kept.glob("[ut]*/a")] == ["ours\n"]


def test_a_point_is_shown_and_written_back_only_onto_what_is_still_so(data: Data, tmp_path: Path) -> None:
    data("create", "v1", group="tags")
    Path("images/a").write_text("newer")
    data("put", "images")
    data("run", "images@v1", "--", "sh", "-c", 'test "$(cat $BOUGH_DATA/a)" = a')
    refused = data("run", "images@v1", "--commit", "--", "sh", "-c", "echo x > $BOUGH_DATA/a", code=5)["error"]
    assert (refused["code"], refused["fields"]["paths"]) == ("DATASET_MOVED", ["a"])
    data("run", "images@v1", "--commit", "--", "sh", "-c", "echo x > $BOUGH_DATA/b && rm $BOUGH_DATA/sub/c")
    assert contents(data, tmp_path) == {"a": "newer", "b": "x\n"}
    assert data("run", "images@v1", "--at", "1h", "--", "true", code=2)["error"]["code"] == "USAGE"


def test_an_environment_that_was_reset_meanwhile_takes_nothing_back(data: Data, platform: Bough) -> None:
    data("create", "try-it", group="branch")
    before = data("log", "images")[0]["change"]
    file = {"path": "a", "digest": platform.blobs.put(b"x"), "size": 1}
    fields = {"project": "shop", "environment": "try-it", "dataset": "images", "files": [file], "since": before}
    platform.operations.call("files.commit", fields, SYSTEM)
    with pytest.raises(Conflict):
        platform.operations.call("files.commit", fields, SYSTEM)
    platform.operations.call("environments.reset", {"project": "shop", "branch": "try-it"}, SYSTEM)
    with pytest.raises(Conflict):
        platform.operations.call("files.commit", fields, SYSTEM)


def test_what_cannot_be_run_is_said_before_anything_is_made(data: Data, tmp_path: Path) -> None:
    assert data("run", "images", "--", "no-such-program", code=2)["error"]["code"] == "COMMAND_NOT_FOUND"
    assert data("run", "nothing", "--", "true", code=4)["error"]["code"] == "DATA_FILE_NOT_FOUND"
    assert data("run", "images/a", "--", "true", code=2)["error"]["code"] == "NAME_INVALID"


def test_a_copy_is_announced(data: Data, capfd: pytest.CaptureFixture[str], platform: Bough) -> None:
    session = Session()
    session.use(Client(transport=InProcess(platform.operations, SYSTEM, platform.blobs)))
    assert run(["data", "run", "images", "--writable", "--how", "copy", "--", "sh", "-c", "echo out"], session) == 0
    said = capfd.readouterr()
    assert said.out == "out\n" and said.err.startswith("copying ")
