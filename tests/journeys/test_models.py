"""From files to a champion that serves, back again, and what a single changed byte does."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.journeys.machine import ROOT, Machine
from tests.outside import environment
from tests.registry.conftest import SIGNING

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
    toml = '[services.price]\nmodel = "pricing:Price"\n[services.named]\nmodel = "pricing:Named"\n'
    code = (
        "from dataclasses import dataclass\n"
        "class Price:\n    def predict(self, item: list[float]) -> float:\n        return 3.0 * item[0] + item[1]\n"
        "@dataclass\nclass House:\n    colour: float\n    floor: float\n    rooms: float\n"
        "class Named:\n    def predict(self, item: House) -> float:\n        return 3.0 * item.rooms + item.floor\n"
    )
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
    assert machine.bough(*words[:2], "named", *words[3:], cwd=project)["baseline"] == 1, "by name"
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


ELSEWHERE = """
import json, pathlib, sys
import bough

factor = sum(json.loads(pathlib.Path("rows/rows.json").read_text()))
with bough.run("on the cluster", project="hybrid") as run:
    run.log_params({"epochs": 1})
    run.log_input("rows")
    run.log_metrics({"loss": 0.25})
print(json.dumps([factor, run.id]))
"""


def test_what_was_trained_and_signed_elsewhere_has_one_lineage_from_its_data_to_what_answers(machine: Machine) -> None:
    """Elsewhere: another folder and home, and nothing of this Bough but an address and a token."""
    toml = '[services.scorer]\nmodel = "models:/scale@champion"\n'
    project = machine.project("hybrid", toml, scoring_py=MAKE, requirements_txt="numpy\n")
    machine.bough("projects", "create", "hybrid")
    (project / "rows.json").write_text("[1, 2, 3]")
    machine.bough("data", "put", "rows.json", "rows/rows.json", cwd=project)
    machine.bough("principals", "create", "cluster", "developer")
    token = machine.bough("tokens", "create", "--principal", "cluster")["secret"]

    there = machine.home.parent / "there"
    there.mkdir()
    url = f"http://127.0.0.1:{machine.api_port}"
    variables = machine.environment | {"BOUGH_HOME": str(there / "home"), "BOUGH_URL": url, "BOUGH_TOKEN": token}
    variables["PYTHONPATH"] = str(ROOT)

    def elsewhere(*words: Any) -> str:
        done = subprocess.run([*map(str, words)], cwd=there, env=variables, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""

    bough = sys.executable, "-m", "bough.entrypoints.cli.main"
    elsewhere(*bough, "data", "get", "rows", "rows", "--project", "hybrid")
    factor, run = json.loads(elsewhere(sys.executable, "-c", ELSEWHERE))
    folder = model(there / "model", factor)
    public = key_pair(there)
    tool = environment(*SIGNING) / "bin/model_signing"
    elsewhere(tool, "sign", "key", "model", "--private_key", "training.pem", "--signature", "model.sig")
    (project / "training.pub").write_text(public)
    machine.bough("signers", "add", "training", "@training.pub", cwd=project)
    machine.bough("signers", "trust", "--signers", "training", "--environment", "main", cwd=project)
    words = ("models", "register", "scale", "model", "--signature", "model.sig", "--run", run, "--alias", "champion")
    made = json.loads(elsewhere(*bough, *words, "--project", "hybrid", "--json"))
    assert [each["signer"] for each in made["signed"]] == ["training"]

    machine.deploy(project)
    assert machine.predict("scorer.hybrid", 2.0) == 12.0
    found = machine.bough("lineage", "dataset:rows", "--down", cwd=project)
    kinds = {each["kind"] for each in found["things"]}
    assert {"dataset", "run", "version", "deployment", "service"} <= kinds, kinds
    assert any(each["details"].get("by") == "cluster" for each in found["things"] if each["kind"] == "run")

    (folder / "model.loader").write_text("scoring:other")
    done = subprocess.run(
        [*bough, *words, "--project", "hybrid", "--json"], cwd=there, env=variables, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["error"]["code"] == "MODEL_TAMPERED"
    assert not (there / "home").exists(), "nothing of this Bough was needed there"


def key_pair(folder: Path) -> str:
    """A private key in the folder; the text of its public part."""
    key = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "training.pem").write_bytes(private)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()
