"""A dataset's way: in from a folder, seen by a service, changed, out on a machine that has only the address."""

from __future__ import annotations

import os
from pathlib import Path

from tests.journeys.machine import Machine

SERVICE = """
import os
from pathlib import Path


class Words:
    def load(self) -> None:
        self.folder = Path(os.environ["BOUGH_DATA"]) / "words"

    def predict(self, name: str) -> str:
        return (self.folder / name).read_text()
"""


def test_a_service_finds_its_dataset_as_its_environment_sees_it(machine: Machine) -> None:
    project = machine.project(
        "lexicon", '[services.words]\nmodel = "service:Words"\ndata = ["words"]\n', service_py=SERVICE
    )
    early = machine.deploy(project, code=8)["error"]
    assert "words" in str(early)
    folder = project.parent / "lexicon-words"
    folder.mkdir()
    (folder / "greeting").write_text("hello")
    done = machine.bough("data", "put", str(folder), "words", cwd=project)
    assert (done["files"], done["bytes"]) == (1, 5)
    machine.deploy(project)
    assert machine.predict("words", "greeting") == "hello"
    again = machine.bough("gc", "--dry-run")
    assert again["blobs"] == 0


def test_files_go_to_and_come_from_a_server_elsewhere(machine: Machine, tmp_path: Path) -> None:
    """No home at hand: through the address, with a large file in it that goes in pieces."""
    project = machine.project("remote", "")
    token = (machine.home / "token").read_text().strip()
    address = ("--url", f"http://127.0.0.1:{machine.api_port}", "--token", token)
    source = tmp_path / "source"
    source.mkdir()
    contents = {"large": os.urandom(20_000_000), "small": b"small", "same": b"small"}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    put = machine.bough("data", "put", str(source), "parts", *address, cwd=project)
    assert (put["files"], put["written"]) == (3, 3)
    machine.bough("data", "get", "parts", str(tmp_path / "out"), *address, cwd=project)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == contents
    refused = machine.bough("data", "mount", "parts", str(tmp_path / "m"), *address, cwd=project, code=2)
    assert refused["error"]["code"] == "MOUNT_REMOTE"
    mounted = machine.bough("data", "mount", "parts", str(tmp_path / "m"), cwd=project)
    assert (mounted["how"], mounted["linked"]) == ("link", 3)
    assert machine.bough("data", "verify", "parts", cwd=project)["files"] == 3
