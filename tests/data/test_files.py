"""Files through the command line, on a real home, without a server between: what a person sees."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.app import Bough
from bough.client import Client
from bough.client.inprocess import InProcess
from bough.entrypoints.cli.main import run
from bough.entrypoints.cli.session import Session
from bough.kernel.context import SYSTEM
from bough.kernel.platform import Platform
from tests.plane import laid

Run = Callable[..., Any]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Bough]:
    made = Bough(laid(tmp_path / "home"), Platform(), durable=False)
    yield made
    made.database.close()


@pytest.fixture(params=["direct", "remote"])
def data(
    request: pytest.FixtureRequest, platform: Bough, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:  # fmt: skip
    """`data("put", …)` gives the JSON answer; with `code` the error. With the blobs at hand, and behind a client."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    home = tmp_path / ("home" if request.param == "direct" else "elsewhere")
    monkeypatch.setenv("BOUGH_HOME", str(home))
    (work / "bough.toml").write_text('name = "shop"\n')

    def call(*words: str, code: int = 0, group: str = "data") -> Any:
        session = Session()
        session.use(Client(transport=InProcess(platform.operations, SYSTEM, platform.blobs)))
        assert run([group, *words, "--json"], session) == code, capsys.readouterr()
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return lines[-1] if lines else None

    return call


def write(folder: str, files: dict[str, str]) -> Path:
    for path, text in files.items():
        place = Path(folder) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return Path(folder)


def read(folder: str) -> dict[str, str]:
    root = Path(folder)
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


FILES = {"a.txt": "one", "train/x/1.txt": "deep", "empty": "", "b/ü.txt": "umlaut"}


def test_a_folder_goes_in_and_comes_out_as_it_was(data: Run) -> None:
    write("photos", FILES)
    Path("photos/a.txt").chmod(0o755)
    done = data("put", "photos", "images")
    assert (done["files"], done["bytes"], done["written"], done["cached_files"]) == (4, 13, 4, 0)
    got = data("get", "images", "out")
    assert read("out") == FILES and got["files"] == 4
    assert os.access("out/a.txt", os.X_OK) and not os.access("out/empty", os.X_OK)


def test_what_is_there_already_is_not_moved_again(data: Run) -> None:
    write("photos", FILES)
    data("put", "photos", "images")
    again = data("put", "photos", "images")
    assert (again["change"], again["written"], again["cached_bytes"]) == (0, 0, 13)
    data("get", "images", "out")
    Path("out/a.txt").write_text("two")
    back = data("get", "images", "out")
    assert back["cached_files"] == 3 and read("out") == FILES


def test_a_listing_goes_folder_by_folder(data: Run) -> None:
    data("put", str(write("photos", FILES)), "images")
    assert [(each["path"], each["kind"], each["files"]) for each in data("ls")] == [("images", "dataset", 4)]
    assert [(each["path"], each["kind"], each["bytes"]) for each in data("ls", "images")] == [
        ("images/a.txt", "file", 3), ("images/b", "folder", 6), ("images/empty", "file", 0),
        ("images/train", "folder", 4),
    ]  # fmt: skip
    assert len(data("ls", "images", "--all")) == 4
    assert data("ls", "images/a.txt")[0]["kind"] == "file"
    assert data("ls", "nothing", code=4)["error"]["code"] == "DATA_FILE_NOT_FOUND"


def test_one_file_and_a_part_of_a_dataset(data: Run) -> None:
    write(".", {"labels.csv": "x,y"})
    data("put", "labels.csv", "images/labels.csv")
    data("put", "labels.csv", "images/old/")
    assert [each["path"] for each in data("ls", "images", "--all")] == ["images/labels.csv", "images/old/labels.csv"]
    data("get", "images/labels.csv", "copy.csv")
    assert Path("copy.csv").read_text() == "x,y"
    data("get", "images/old", "old")
    assert read("old") == {"labels.csv": "x,y"}


def test_earlier_states_stay_readable_by_change_and_tag(data: Run) -> None:
    write("photos", FILES)
    first = data("put", "photos", "images")["change"]
    data("create", "v1", group="tags")
    Path("photos/a.txt").write_text("two!")
    Path("photos/empty").unlink()
    data("put", "photos", "images", "--replace", "-m", "cleaned")
    for point in (f"#{first}", "v1"):
        data("get", "images", f"at-{point}", "--at", point)
        assert read(f"at-{point}") == FILES
    diff = {each["path"]: each["action"] for each in data("diff", "images", "--against", "v1")}
    assert diff == {"images/a.txt": "change", "images/empty": "remove"}
    newest = data("log", "images")[0]
    assert (newest["why"], newest["written"], newest["removed"]) == ("cleaned", 1, 1)
    assert [each["name"] for each in data("list", group="tags")] == ["v1"]
    data("delete", "v1", group="tags")
    assert data("get", "images", "x", "--at", "v1", code=4)["error"]["code"] == "POINT_NOT_FOUND"


def test_removing_takes_a_file_a_folder_or_all(data: Run) -> None:
    data("put", str(write("photos", FILES)), "images")
    assert data("rm", "images/train")["removed"] == 1
    assert data("rm", "images")["removed"] == 3
    assert data("ls") == []
    assert data("rm", "images", code=4)["error"]["code"] == "DATA_FILE_NOT_FOUND"


def test_links_stay_inside_and_special_files_outside(data: Run) -> None:
    write("photos", {"a.txt": "one"})
    Path("photos/same.txt").symlink_to("a.txt")
    data("put", "photos", "images")
    data("get", "images", "out")
    assert read("out")["same.txt"] == "one" and not Path("out/same.txt").is_symlink()
    for target in ("/etc/passwd", "nowhere", "."):
        link = Path("photos/link")
        link.symlink_to(target)
        assert data("put", "photos", "images", code=2)["error"]["code"] == "LINK_OUTSIDE"
        link.unlink()
    os.mkfifo("photos/pipe")
    assert data("put", "photos", "images", code=2)["error"]["code"] == "SPECIAL_FILE"


def test_a_link_in_the_target_leads_nothing_outside(data: Run, tmp_path: Path) -> None:
    data("put", str(write("photos", {"sub/a.txt": "one"})), "images")
    (tmp_path / "outside").mkdir()
    Path("out").mkdir()
    Path("out/sub").symlink_to(tmp_path / "outside")
    assert data("get", "images", "out", code=2)["error"]["code"] == "LINK_OUTSIDE"
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_is_not_also_a_folder(data: Run) -> None:
    write(".", {"f": "x"})
    data("put", "f", "images/a")
    assert data("put", "f", "images/a/b", code=2)["error"]["code"] == "PATH_UNSAFE"
    data("put", "f", "images/c/d")
    assert data("put", "f", "images/c", code=2)["error"]["code"] == "PATH_UNSAFE"


def test_names_are_written_in_composed_form_and_must_not_meet(data: Run) -> None:
    write("photos", {"u\u0308.txt": "decomposed"})
    data("put", "photos", "images")
    assert data("ls", "images")[0]["path"] == "images/\u00fc.txt"
    write("photos", {"\u00fc.txt": "composed"})
    assert data("put", "photos", "images", code=2)["error"]["code"] == "PATH_UNSAFE"


def damage(platform: Bough, digest: str) -> None:
    path = platform.blobs.local_path(digest)
    assert path
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_is_named_and_healed_from_a_copy(data: Run, platform: Bough) -> None:
    data("put", str(write("photos", FILES)), "images")
    assert data("verify")["files"] == 4
    digest = data("ls", "images/a.txt")[0]["digest"]
    damage(platform, digest)
    assert data("get", "images", "out", code=1)["error"]["code"] == "BLOB_DAMAGED"
    error = data("verify", code=1)["error"]
    assert error["code"] == "FILES_DAMAGED"
    found = error["fields"]["files"][0]
    assert (found["dataset"], found["path"], found["digest"], found["problem"]) == (
        "images",
        "a.txt",
        digest,
        "missing",
    )
    healed = data("verify", "--from", "photos")
    assert [each["path"] for each in healed["healed"]] == ["a.txt"]
    assert data("verify")["healed"] == []


def test_the_original_put_again_heals(data: Run, platform: Bough) -> None:
    data("put", str(write("photos", FILES)), "images")
    damage(platform, data("ls", "images/a.txt")[0]["digest"])
    assert data("verify", code=1)["error"]["fields"]["files"][0]["problem"] == "damaged"
    data("put", "photos", "images")
    assert data("verify")["files"] == 4


def test_usage_tells_shared_from_exclusive_bytes(data: Run) -> None:
    data("put", str(write("photos", FILES)), "images")
    data("create", "try", group="branch")
    write("more", {"new.txt": "12345"})
    data("put", "more", "images", "-e", "try")
    found = {each["environment"]: each for each in data("usage")}
    assert (found["main"]["total_bytes"], found["main"]["exclusive_bytes"]) == (13, 0)
    assert (found["try"]["shared_bytes"], found["try"]["exclusive_bytes"]) == (13, 5)
    assert data("--dry-run", group="gc")["blobs"] == 0


def test_space_tells_by_dataset_and_version_who_holds_bytes_and_what_would_free_them(data: Run) -> None:
    """Blobs of 100 bytes and more, so that no two sums are equal by chance."""
    data("put", str(write("photos", {"a.bin": "a" * 100, "b.bin": "b" * 200})), "images")
    data("put", str(write("again", {"b.bin": "b" * 200})), "copies")  # the same content under another name
    data("create", "v1", group="tags")
    data("create", "try", group="branch")
    write("photos", {"a.bin": "c" * 400})
    data("put", "photos", "images")  # a.bin of before is held by the tag, the branch and the history
    data("put", str(write("more", {"new.bin": "n" * 800})), "images", "-e", "try")
    found = data("space")
    held = {(each["environment"], each["name"]): each for each in found["held"]}
    own = {place: each["exclusive_bytes"] for place, each in held.items()}
    assert own == {("main", "images"): 400, ("main", "copies"): 0, ("try", "images"): 900, ("try", "copies"): 0}
    assert held[("main", "images")]["bytes"] == 600 and held[("try", "images")]["bytes"] == 1100
    assert found["bytes"] == 100 + 200 + 400 + 800 and found["earlier"] == []
    (branch,) = found["advice"]
    assert branch["bytes"] == 900 and branch["command"] == "bough branch discard try --project shop"

    versions = data("space", "images")["versions"]
    assert [(each["bytes"], each["new_bytes"]) for each in versions] == [(600, 400), (300, 300)]
    assert [each["new_bytes"] for each in data("space", "images", "-e", "try")["versions"]] == [800, 300]
    assert data("space", "nothing", code=4)["error"]["code"] == "DATASET_NOT_FOUND"

    data("discard", "try", group="branch")
    found = data("space")
    assert found["earlier"] == [{"name": "images", "kind": "file", "bytes": 100}]
    advice = {each["command"]: each["bytes"] for each in found["advice"]}
    assert advice == {"bough tags delete v1 --project shop": 100, "bough gc": 800}
    data("delete", "v1", group="tags")
    advice = {each["command"]: each["bytes"] for each in data("space")["advice"]}
    assert advice == {"bough data log images --project shop": 100, "bough gc": 800}


def test_space_counts_the_files_of_tables_version_by_version(data: Run) -> None:
    write("rows", {"one.csv": "id,name\n1,ann\n2,bob\n", "two.csv": "id,name\n3,cat\n"})
    data("put", "rows", "raw")  # makes production
    data("create", "people", "rows/one.csv", "--key", "id", group="tables")
    data("append", "people", "rows/two.csv", group="tables")
    found = data("space", "people")
    (held,) = found["held"]
    newest, first = found["versions"]
    assert held["kind"] == "table" and held["bytes"] == held["exclusive_bytes"] == newest["bytes"]
    assert newest["bytes"] == newest["new_bytes"] + first["bytes"] and first["bytes"] == first["new_bytes"] > 0
    data("drop", "people", group="tables")
    (earlier,) = data("space")["earlier"]
    assert earlier == {"name": "people", "kind": "table", "bytes": newest["bytes"]}
    assert data("space")["advice"][0]["command"] == "bough tables history people --project shop"
