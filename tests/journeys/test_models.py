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
    machine.bough("models", "get", "team/churn/2", str(back), cwd=project)
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


def test_a_model_is_explained_by_asking_it(machine: Machine) -> None:
    toml = '[services.price]\nmodel = "pricing:Price"\n'
    code = "class Price:\n    def predict(self, item: list[float]) -> float:\n        return 3.0 * item[0] + item[1]\n"
    project = machine.project("explained", toml, pricing_py=code)
    machine.bough("projects", "create", "explained")
    machine.bough("models", "register", "price", str(project / "pricing.py"), "--alias", "champion", cwd=project)
    machine.deploy(project)
    rows = [[(n * 7) % 10, (n * 3) % 10, (n * 5) % 7] for n in range(20)]
    lines = ["rooms,floor,colour,price", *(f"{a},{b},{c},{3 * a + b}" for a, b, c in rows)]
    (project / "rows.csv").write_text("\n".join(lines) + "\n")
    words = ("models", "explain", "price", "--data", "rows.csv", "--target", "price", "--repeats", "2")
    found = machine.bough(*words, "--model", "price@champion", cwd=project)
    assert [each["input"] for each in found["importances"]] == ["rooms", "floor", "colour"]
    shown = machine.run("models", "card", "price@champion", cwd=project).stdout
    assert "permutation on 20 rows, r2: 1" in shown and "| rooms |" in shown
    refused = machine.bough(*words[:4], "pricing.py", "--target", "nosuch", cwd=project, code=2)
    assert refused["error"]["code"] == "EXPLAIN_DATA_INVALID"


def test_what_was_signed_elsewhere_is_checked_before_it_is_registered(machine: Machine) -> None:
    project = machine.project("brought", TOML)
    for name in ("brought", "origin"):
        machine.bough("projects", "create", name)
    there = machine.project("origin", TOML)
    key = machine.bough("signers", "create", "training", cwd=there)["public_key"]
    folder = model(machine.home.parent / "signed", 1.0)
    machine.bough("models", "register", "churn", str(folder), cwd=there)
    [bundle] = machine.bough("models", "bundle", "churn/1", cwd=there)
    (folder / "model.sig").write_text(bundle)
    (project / "training.pub").write_text(key)
    words = ("models", "register", "churn", str(folder), "--signature", str(folder / "model.sig"))
    assert machine.bough(*words, cwd=project, code=4)["error"]["code"] == "SIGNER_NOT_FOUND"
    machine.bough("signers", "add", "training", "@training.pub", cwd=project)
    done = machine.bough(*words, "--key", "training.pub", cwd=project)
    assert (done["files"], done["signed"][0]["signer"]) == (2, "training")
    (folder / "model.loader").write_text("scoring:other")
    refused = machine.bough(*words, cwd=project, code=2)
    assert (refused["error"]["code"], refused["error"]["fields"]["path"]) == ("MODEL_TAMPERED", "model.loader")
