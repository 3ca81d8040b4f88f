"""Commands that need no server: init, explain, doctor; and what `deploy` sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

import pytest

from bough.client import Client
from bough.entrypoints.cli import first_answer, init, sending
from bough.entrypoints.cli.main import run
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Conflict
from bough.kernel.project import resolve
from bough.kernel.settings import Document

Bough = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bough:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOUGH_HOME", str(tmp_path / "home"))

    def call(*words: str) -> tuple[int, str, str]:
        code = run(list(words))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize("template", init.ABOUT)
def test_every_template_is_a_project_with_an_input_to_try(bough: Bough, tmp_path: Path, template: str) -> None:
    code, out, _ = bough("init", "My Shop", "--template", template, "--json")
    made = json.loads(out)
    assert (code, made["project"]) == (0, "my-shop")
    folder = tmp_path / "My Shop"
    project = resolve(Document.read(folder / "bough.toml"))
    assert project.name == "my-shop"
    (service,) = project.services.values()
    assert service.is_web or json.loads((folder / first_answer.EXAMPLE).read_text())
    assert len((folder / "bough.toml").read_text().splitlines()) <= 5
    assert sending.prepare(folder, "main").count == len(made["files"]) - 1, "all but the project file"


class Wanting:
    """A server that has nothing yet."""

    def __init__(self) -> None:
        self.blobs = self
        self.sent: list[int] = []

    def missing(self, digests: list[str]) -> list[str]:
        return digests

    def upload(self, digest: str, content: BinaryIO, size: int) -> None:
        self.sent.append(size)

    def put(self, content: bytes, digest: str) -> None:
        self.sent.append(len(content))


@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_changes_while_the_folder_is_sent_is_named(bough: Bough, tmp_path: Path, gone: bool) -> None:
    """The server would be told of more bytes than come, and would not understand the rest."""
    assert bough("init", "shop")[0] == 0
    log = tmp_path / "shop" / "out.log"
    log.write_text("a line\n")
    prepared = sending.prepare(tmp_path / "shop", "main")
    client: Any = Wanting()
    sending.upload(Session(), client, prepared)
    assert 7 in client.sent
    if gone:
        log.unlink()
    else:
        log.write_text("a line\nand one more\n")
    with pytest.raises(Conflict, match=r"out\.log changed while it was sent") as found:
        sending.upload(Session(), client, prepared)
    assert ".boughignore" in found.value.hint


def test_the_list_of_templates_is_what_ships() -> None:
    assert init.ABOUT.keys() == {path.name for path in init.TEMPLATES.iterdir() if path.is_dir()}


def test_init_never_writes_over_a_file(bough: Bough, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("mine")
    code, _, err = bough("init")
    assert (code, "service.py" in err) == (5, True)
    assert (tmp_path / "service.py").read_text() == "mine"
    assert not (tmp_path / "bough.toml").exists()
    assert bough("init", "a")[0] == 0
    assert "PROJECT_EXISTS" in bough("init", "a")[2]


def test_init_refuses_a_template_or_a_name_that_cannot_be(bough: Bough) -> None:
    assert "TEMPLATE_UNKNOWN" in bough("init", "a", "-t", "../../x")[2]
    assert "NAME_INVALID" in bough("init", "a", "--name", "No Spaces!")[2]


TOML = """name = "shop"
[services.churn]
model = "service:Churn"
replicas = 2
[environments.staging.services.churn]
replicas = 5
"""


def test_explain_says_where_a_value_came_from(bough: Bough, tmp_path: Path) -> None:
    (tmp_path / "bough.toml").write_text(TOML)
    for words, value, origin in (
        ((), 2, "bough.toml:4"),
        (("-e", "staging"), 5, "bough.toml:6"),
    ):
        found = json.loads(bough("explain", "services.churn.replicas", *words, "--json")[1])
        assert found == [{"key": "services.churn.replicas", "value": value, "origin": origin}]
    found = json.loads(bough("explain", "services.churn.timeout_s", "--json")[1])
    assert found[0]["origin"] == "default of a service"


def test_explain_tells_the_keys_of_a_table_apart(bough: Bough, tmp_path: Path) -> None:
    text = (
        'name = "shop"\n[services.churn]\nmodel = "service:Churn"\nresources.cpus = 2\nenv = {A = "1"}\n'
        "[environments.main.services.churn.resources]\nmemory_mb = 64\n"
    )
    (tmp_path / "bough.toml").write_text(text)
    rows = {each["key"]: each for each in json.loads(bough("explain", "services.churn", "--json")[1])}
    lines = text.splitlines()

    def line(key: str) -> str:
        return f"bough.toml:{next(at for at, each in enumerate(lines, 1) if each.startswith(key))}"

    assert rows["services.churn.resources.cpus"]["origin"] == line("resources.cpus")
    assert rows["services.churn.resources.memory_mb"]["origin"] == line("memory_mb")
    assert rows["services.churn.resources.gpus"]["origin"] == "default of a service"
    assert rows["services.churn.env.A"]["value"] == "1"
    assert rows["services.churn.batch.max_size"]["origin"] == "default of a service"


def test_explain_takes_the_start_or_the_last_word_of_a_key(bough: Bough, tmp_path: Path) -> None:
    (tmp_path / "bough.toml").write_text(TOML)
    assert len(json.loads(bough("explain", "services.churn", "--json")[1])) > 20
    assert json.loads(bough("explain", "replicas", "--json")[1])[0]["key"] == "services.churn.replicas"
    code, _, err = bough("explain", "replica")
    assert (code, "bough explain services.churn.replicas" in err) == (4, True)


def test_explain_names_file_line_and_key_of_a_mistake(bough: Bough, tmp_path: Path) -> None:
    (tmp_path / "bough.toml").write_text(TOML.replace("replicas = 2", "replcas = 2"))
    code, _, err = bough("explain")
    assert code == 2
    assert "bough.toml:4: services.churn.replcas: unknown key" in err
    assert "did you mean 'replicas'?" in err


def test_doctor_tells_what_it_tried(bough: Bough) -> None:
    code, out, _ = bough("doctor", "--json")
    found = {(each["area"], each["name"]): each for each in json.loads(out)["findings"]}
    assert code == 0
    assert found["build", "uv"]["detail"].startswith("uv ")
    assert found["bough", "server"]["state"] in ("no", "problem")
    assert {"landlock", "reflink", "gpu"} <= {name for area, name in found if area == "isolation"}
    assert all(each["detail"] for each in found.values())
    assert found["limits", "memory"]["state"] == "yes"
    for name, said in (("cpu", "limits nothing"), ("gpu share", "in services only")):
        assert found["limits", name]["state"] == "no" and said in found["limits", name]["detail"]
    assert "landlock" in bough("doctor")[1]


# What is sent


class Store:
    """A transport that keeps blobs."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def call(self, name: str, fields: Mapping[str, Any], key: str) -> Any:
        assert name == "blobs.missing"
        return [digest for digest in fields["digests"] if digest not in self.kept]

    def stream(self, name: str, fields: Mapping[str, Any]) -> Any:
        raise AssertionError(name)

    def upload(self, digest: str, content: Any, size: int) -> None:
        self.kept[digest] = content.read()
        assert len(self.kept[digest]) == size

    def close(self) -> None:
        pass


def test_only_what_is_missing_is_sent(tmp_path: Path) -> None:
    (tmp_path / "bough.toml").write_text(TOML)
    (tmp_path / "service.py").write_text("class Churn: ...")
    (tmp_path / "copy.py").write_text("class Churn: ...")
    store, session = Store(), Session()
    client = Client(transport=store)
    prepared = sending.prepare(tmp_path, "main")
    first = sending.upload(session, client, prepared)
    assert (first.files, len(store.kept)) == (1, 2)  # one content, and the list of files
    assert prepared.scans["."].digest in store.kept
    assert sending.upload(session, client, prepared).files == 0
    (tmp_path / "copy.py").write_text("other")
    assert sending.upload(session, client, sending.prepare(tmp_path, "main")).files == 1


def test_the_state_folder_is_ignored_by_git_and_by_bundles(tmp_path: Path) -> None:
    (tmp_path / "bough.toml").write_text(TOML)
    first = sending.prepare(tmp_path, "main")
    assert (tmp_path / ".bough/.gitignore").read_text() == "*\n"
    assert sending.prepare(tmp_path, "main").request() == first.request()


def test_the_first_answer_is_asked_for_once(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        services = [{"service": "a", "url": f"http://127.0.0.1:{server.server_port}/v1/a/predict", "address": ""}]
        assert first_answer.seconds_from_init(tmp_path, services) is None  # not from `bough init`
        first_answer.record_init(tmp_path)
        assert first_answer.seconds_from_init(tmp_path, services) is None  # no input to try
        (tmp_path / first_answer.EXAMPLE).write_text('{"n": 1}')
        assert first_answer.seconds_from_init(tmp_path, []) is None
        seconds = first_answer.seconds_from_init(tmp_path, services)
        assert seconds is not None
        assert 0 <= seconds < 60
        assert first_answer.seconds_from_init(tmp_path, services) is None
        server.shutdown()
    assert bodies == [b'{"n": 1}']
    assert json.loads((tmp_path / ".bough/init.json").read_text())["first_answer_s"] == seconds
