"""Tables from the command line, against a control plane in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bough.client import Client
from bough.client.frames import pandas_frame
from bough.client.inprocess import InProcess
from bough.entrypoints.cli.main import run
from bough.entrypoints.cli.session import Session
from bough.kernel import catalog
from tests.plane import ADMIN, Plane

Bough = Callable[..., tuple[int, str, str]]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    plane = Plane(tmp_path / "plane")
    with plane.bough.database.write() as tx:
        main = catalog.open_head(tx, "shop", "main", None)
        catalog.open_head(tx, "shop", "try", catalog.Point(main))
    yield Client(transport=InProcess(plane.bough.operations, ADMIN, plane.bough.blobs))
    plane.bough.stop()


@pytest.fixture
def bough(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bough:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bough.toml").write_text('name = "shop"\n')
    (tmp_path / "people.csv").write_text("id,name,score\n1,Ada,1.5\n2,Bo,2.5\n3,Cy,3.5\n")

    def call(*words: str) -> tuple[int, str, str]:
        code = run(list(words), _session(client))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def _session(client: Client) -> Session:
    session = Session()
    session.use(client)
    return session


def test_a_table_lives_on_the_command_line(bough: Bough, client: Client, tmp_path: Path) -> None:
    assert bough("tables", "create", "people", "people.csv", "--key", "id")[0] == 0
    (tmp_path / "more.json").write_text('{"id": 4, "name": "Di"}\n')
    assert bough("tables", "append", "people", "more.json")[0] == 0
    (tmp_path / "fix.csv").write_text("id,name,score\n2,Bob,9\n")
    assert bough("tables", "upsert", "people", "fix.csv", "-m", "a name")[0] == 0
    assert bough("tables", "delete", "people", "id = 3")[0] == 0
    assert bough("tables", "update", "people", "id = 4", "--set", "score=1 + 1")[0] == 0
    code, out, _ = bough("tables", "query", "SELECT * FROM people ORDER BY id")
    assert (code, out.split()) == (0, ["id", "name", "score", "1", "Ada", "1.5", "2", "Bob", "9", "4", "Di", "2"])
    assert bough("tables", "add-column", "people", "age", "INTEGER")[0] == 0
    whys = [each["why"] for each in json.loads(bough("tables", "history", "people", "--json")[1])]
    assert whys[0] == "add column age" and "a name" in whys
    [listed] = json.loads(bough("tables", "--json")[1])
    assert (listed["name"], listed["rows"]) == ("people", 3)


def test_answers_go_into_files_and_frames(bough: Bough, client: Client, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    bough("tables", "create", "people", "people.csv")
    frame = pandas_frame(client, "SELECT * FROM people ORDER BY id", project="shop")
    assert list(frame["name"]) == ["Ada", "Bo", "Cy"]


def test_an_answer_is_written_to_a_file(bough: Bough, tmp_path: Path) -> None:
    bough("tables", "create", "people", "people.csv")
    assert bough("tables", "query", "SELECT id FROM people ORDER BY id", "-o", "out.csv")[0] == 0
    assert (tmp_path / "out.csv").read_text() == "id\n1\n2\n3\n"


def test_a_diff_is_told_and_drawn(bough: Bough, tmp_path: Path) -> None:
    bough("tables", "create", "people", "people.csv", "--key", "id")
    bough("tables", "create", "people", "people.csv", "--key", "id", "-e", "try")
    bough("tables", "delete", "people", "id = 1", "-e", "try")
    code, out, _ = bough("tables", "diff", "main..try", "--picture", "people.svg")
    assert code == 0 and "people: 0 rows added, 1 removed, 0 changed (3 -> 2)" in out
    assert (tmp_path / "people.svg").read_text().startswith("<svg")


def test_errors_end_with_what_to_type(bough: Bough, tmp_path: Path) -> None:
    code, _, said = bough("tables", "query", "SELECT * FROM nothing")
    assert code == 2 and "try: bough tables list" in said
    (tmp_path / "a.xlsx").write_text("")
    code, _, said = bough("tables", "create", "a", "a.xlsx")
    assert code == 2 and "FORMAT_UNKNOWN" in said
    assert bough("tables", "create", "a", "gone.csv")[0] == 2


def test_an_export_is_a_folder_with_an_iceberg_table(bough: Bough, tmp_path: Path) -> None:
    bough("tables", "create", "people", "people.csv", "--key", "id")
    bough("tables", "delete", "people", "id = 1")
    code, out, _ = bough("tables", "export", "people", "out", "--iceberg", "--json")
    told = json.loads(out)
    assert (code, told["files"], told["rewritten"]) == (0, 1, 1)
    table = pytest.importorskip("pyiceberg.table").StaticTable.from_metadata(told["metadata"])
    assert sorted(table.scan().to_arrow()["name"].to_pylist()) == ["Bo", "Cy"]
    assert bough("tables", "export", "people", "out", "--iceberg")[0] == 2
    assert bough("tables", "export", "people", "other")[0] == 2
