"""A client that a stranger generates from the OpenAPI document speaks with a real server."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.machine import Machine
from tests.outside import environment, kept

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
GENERATOR = "openapi-python-client==0.29.1"
SAID = "said"  # written last
KEPT = 3  # generated clients
MODEL = "class Model:\n    def predict(self, n: int) -> int:\n        return n\n"
CONTRACT = """
import json, sys
from sdk.client import AuthenticatedClient
from sdk.api.projects import projects_list
from sdk.api.releases import releases_list, releases_plan
from sdk.api.services import services_show
from sdk.models import Failure, ProposeRelease, ProposeReleaseBundles

url, token = sys.argv[1:3]
client = AuthenticatedClient(base_url=url, token=token)
projects = projects_list.sync(client=client)
releases = releases_list.sync(client=client, project="typed")
service = services_show.sync(client=client, project="typed", service="sdk")
missing = services_show.sync_detailed(client=client, project="typed", service="nobody")
refused = projects_list.sync_detailed(client=AuthenticatedClient(base_url=url, token="wrong"))
bundles = ProposeReleaseBundles()
bundles["."] = "0" * 64
invalid = releases_plan.sync_detailed(client=client, body=ProposeRelease(file="name = 3", bundles=bundles))
assert isinstance(missing.parsed, Failure) and isinstance(refused.parsed, Failure), (missing, refused)
print(json.dumps({
    "projects": [each.project for each in projects], "releases": [each.state for each in releases],
    "replicas": [each.attempt for each in service.replicas], "url": service.url,
    "missing": [missing.status_code, missing.parsed.error.code], "refused": refused.status_code,
    "invalid": [invalid.status_code, invalid.parsed.error.code],
}))
"""


def _success(method: Any) -> Any:
    return next(answer for status, answer in method["responses"].items() if status.startswith("2"))


def _streams(methods: dict[str, Any]) -> bool:
    """NDJSON, which the generator leaves out."""
    return any("ndjson" in kind for each in methods.values() for kind in _success(each).get("content", {}))


@pytest.fixture(scope="module")
def generated() -> Path:
    """A folder with the client as `sdk`, and what the generator said of it; made anew when the document is another."""
    program = environment(GENERATOR) / "bin"
    asked = hashlib.sha256(GENERATOR.encode() + DOCUMENT.read_bytes()).hexdigest()[:12]
    folder = kept() / "generated" / asked
    with (kept() / "generated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / SAID).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            words = ["generate", "--path", DOCUMENT, "--output-path", folder / "sdk", "--meta", "none"]
            variables = os.environ | {"PATH": f"{program}:{os.environ['PATH']}"}  # where it finds what lays code out
            done = subprocess.run(
                [program / "openapi-python-client", *words], capture_output=True, text=True, timeout=400, env=variables
            )
            assert done.returncode == 0, done.stderr
            (folder / SAID).write_text(done.stdout + done.stderr)
            for old in sorted(folder.parent.iterdir(), key=lambda each: each.stat().st_mtime)[:-KEPT]:
                shutil.rmtree(old)
    return folder


def test_the_generator_leaves_nothing_out_but_streams(generated: Path) -> None:
    warnings = [line for line in (generated / SAID).read_text().splitlines() if line.startswith("WARNING")]
    streams = {path for path, methods in json.loads(DOCUMENT.read_text())["paths"].items() if _streams(methods)}
    assert all(any(f" {path} " in line for path in streams) for line in warnings), warnings


def test_it_passes_the_contract(machine: Machine, generated: Path) -> None:
    machine.deploy(machine.project("typed", '[services.sdk]\nmodel = "service:Model"\n', service_py=MODEL))
    url = machine.bough("up")["api_url"]
    token = (machine.home / "token").read_text().strip()
    python = environment("httpx", "attrs", "python-dateutil") / "bin/python"
    words = [python, "-c", CONTRACT, url, token]
    done = subprocess.run(words, cwd=generated, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "typed" in said["projects"] and said["releases"] == ["live"] and said["replicas"] == [1]
    assert said["url"] == f"{machine.gateway}/v1/sdk/predict"
    assert said["missing"] == [404, "SERVICE_NOT_FOUND"] and said["refused"] == 401
    assert said["invalid"] == [422, "PROJECT_FILE_INVALID"]
