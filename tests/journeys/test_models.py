"""From files to a champion that serves, back again, and what a single changed byte does."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from tests.journeys.machine import Machine

TOML = '[services.scorer]\nmodel = "models:/team/churn@champion"\n'
MAKE = "def make(tensors):\n    factor = float(tensors['factor'][0])\n    return lambda number: number * factor\n"
CLASS = """
from pathlib import Path

class Reader:
    def load(self) -> None:
        self.text = Path(self.models["words"], "words.txt").read_text()

    def predict(self, item: str) -> str:
        return self.text + item
"""


def model(folder: Path, factor: float) -> Path:
    """Weights as safetensors, which need no library that is not here."""
    folder.mkdir(exist_ok=True)
    data = np.array([factor], dtype="<f4").tobytes()
    header = json.dumps({"factor": {"dtype": "F32", "shape": [1], "data_offsets": [0, len(data)]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    (folder / "model.loader").write_text("scoring:make")
    return folder


def register(machine: Machine, project: Path, folder: Path, *words: str) -> Any:
    return machine.bough("models", "register", "team/churn", str(folder), "--alias", "champion", *words, cwd=project)


def test_a_champion_serves_and_comes_back(machine: Machine) -> None:
    folder = machine.home.parent / "weights"
    project = machine.project("modelled", TOML, scoring_py=MAKE, requirements_txt="numpy\n")
    machine.bough("projects", "create", "modelled")
    machine.bough("signers", "create", "ci", cwd=project)
    made = register(machine, project, model(folder, 2.0), "--metric", "auc=0.8")
    assert (made["number"], made["signed"][0]["signer"]) == (1, "ci")
    first = machine.deploy(project)
    assert machine.predict("scorer.modelled", 21.0) == 42.0
    register(machine, project, model(folder, 3.0))
    plan = machine.bough("plan", cwd=project)
    assert plan["changes"][0]["keys"] == {"models.model": ["team/churn/1", "team/churn/2"]}
    second = machine.deploy(project)
    assert machine.predict("scorer.modelled", 2.0) == 6.0
    machine.bough("rollback", cwd=project)
    assert machine.predict("scorer.modelled", 2.0) == 4.0
    releases = machine.bough("releases", cwd=project)
    assert releases[0]["digest"] == releases[2]["digest"] != releases[1]["digest"], (first, second)
    back = machine.home.parent / "fetched"
    machine.bough("models", "get", "team/churn@champion", str(back), cwd=project)
    assert (back / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    found = machine.bough("models", "verify", "team/churn/1", cwd=project)
    assert (found["state"], found["signer"], found["files"]) == ("signed", "ci", 2)


def test_a_class_finds_its_models_and_a_changed_byte_keeps_it_from_loading(machine: Machine) -> None:
    toml = '[services.reader]\nmodel = "reading:Reader"\nmodels = { words = "models:/words@champion" }\n'
    project = machine.project("reading", toml, reading_py=CLASS)
    machine.bough("projects", "create", "reading")
    words = machine.home.parent / "words"
    words.mkdir()
    (words / "words.txt").write_text("hello ")
    machine.bough("models", "register", "words", str(words), "--alias", "champion", cwd=project)
    machine.deploy(project)
    assert machine.predict("reader.reading", "you") == "hello you"
    digest = sha256(b"hello ").hexdigest()
    [blob] = [path for path in (machine.home / "blobs").rglob(f"*{digest[4:]}*") if path.is_file()]
    blob.chmod(0o600)
    blob.write_bytes(b"hellO ")
    with (project / "bough.toml").open("a") as file:
        file.write('env = { AGAIN = "1" }\n')
    failed = machine.deploy(project, code=8)
    said = json.dumps(failed)
    assert "MODEL_TAMPERED" in said and "words.txt of words/1 is not the file that was registered" in said
    assert machine.predict("reader.reading", "you") == "hello you"  # what was loaded before serves on
    refused = machine.bough("models", "verify", "words/1", cwd=project, code=2)
    assert refused["error"]["fields"]["path"] == "words.txt"
    blob.write_bytes(b"hello ")
    machine.deploy(project)
