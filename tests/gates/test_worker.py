"""The gates' own process: real, on real blobs."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.data.models import File
from bough.gates.asked import GateAnswer, GateRequest
from bough.gates.models import GateRun
from bough.kernel.policy import Gates
from bough.registry.models import Version
from bough.registry.rules import manifest_of
from tests.gates.test_scanning import Evil


def ask(home: Path, files: dict[str, bytes], **gates: Any) -> GateAnswer:
    blobs = DirectoryBlobs(home / "blobs")
    listed = [File(path=name, digest=blobs.put(each), size=len(each)) for name, each in files.items()]
    digest = blobs.put(manifest_of(listed))
    version = Version(
        id="ver", name="churn", number=1, digest=digest, files=len(files), bytes=1, created_at=0, updated_at=0,
        by="ann", environment="main",
    )  # fmt: skip
    run = GateRun(
        id="gat_1", project="shop", environment="main", name="churn", number=1, digest=digest, version="ver",
        gates=Gates(**gates), policy="p", state="running", by="ann", started_at=0.0,
    )  # fmt: skip
    request, result = home / "request.json", home / "result.json"
    request.write_bytes(msgspec.json.encode(GateRequest(run=run, version=version)))
    subprocess.run([sys.executable, "-m", "bough.gates.worker", home, request, result], check=False, timeout=60)
    return msgspec.json.decode(result.read_bytes(), type=GateAnswer)


def test_it_scans_every_file_of_a_version(tmp_path: Path) -> None:
    (found,) = ask(tmp_path, {"a.pkl": pickle.dumps({"a": 1}), "b/c.txt": b"text"}, scan=True).results
    assert found.passed and found.figures["files"] == 2
    (found,) = ask(tmp_path, {"a.pkl": pickle.dumps({"a": 1}), "b/c.bin": pickle.dumps(Evil())}, scan=True).results
    assert not found.passed and found.said.startswith("b/c.bin asks for posix.system (STACK_GLOBAL after byte")


def test_a_version_whose_files_are_gone_fails_with_a_reason(tmp_path: Path) -> None:
    lost = DirectoryBlobs(tmp_path / "blobs")
    content = pickle.dumps([1])
    ask(tmp_path, {"a.pkl": content}, scan=True)
    lost.delete(lost.put(content))
    request, result = tmp_path / "request.json", tmp_path / "result.json"
    result.unlink()
    done = subprocess.run([sys.executable, "-m", "bough.gates.worker", tmp_path, request, result], capture_output=True)
    assert done.returncode == 1
    failure = msgspec.json.decode(result.read_bytes(), type=GateAnswer).failure
    assert failure is not None and failure.code == "GATES_CRASHED"
