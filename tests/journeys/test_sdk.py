"""A client that a stranger generates from the OpenAPI document speaks with a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from tests.journeys.machine import Machine

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
GENERATOR = "openapi-python-client==0.29.1"
MODEL = "class Model:\n    def predict(self, n: int) -> int:\n        return n\n"
CONTRACT = """
import json, sys
from sdk.client import AuthenticatedClient
from sdk.api.projects import projects_list
from sdk.api.releases import releases_list, releases_plan
from sdk.api.services import services_show
from sdk.models import Failure, ProposeRelease, ProposeReleaseBundles

url, token, file = sys.argv[1:4]
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
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    words = ["tool", "run", "--from", GENERATOR, "openapi-python-client", "generate", "--path", str(DOCUMENT)]
    done = uv(*words, "--output-path", str(folder / "sdk"), "--meta", "none")
    if done.returncode and "openapi_python_client" not in done.stderr and not os.environ.get("CI"):
        pytest.skip(f"the generator cannot be fetched here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    warnings = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("WARNING")]
    streams = {path for path, methods in json.loads(DOCUMENT.read_text())["paths"].items() if _streams(methods)}
    assert all(any(f" {path} " in line for path in streams) for line in warnings), warnings
    return folder


def test_it_passes_the_contract(machine: Machine, generated: Path) -> None:
    machine.deploy(machine.project("typed", '[services.sdk]\nmodel = "service:Model"\n', service_py=MODEL))
    url = machine.bough("up")["api_url"]
    (generated / "contract.py").write_text(CONTRACT)
    token = (machine.home / "token").read_text().strip()
    packages = [word for name in ("httpx", "attrs", "python-dateutil") for word in ("--with", name)]
    done = uv("run", "--no-project", *packages, "python", str(generated / "contract.py"), url, token, "-")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "typed" in said["projects"] and said["releases"] == ["live"] and said["replicas"] == [1]
    assert said["url"] == f"{machine.gateway}/v1/sdk/predict"
    assert said["missing"] == [404, "SERVICE_NOT_FOUND"] and said["refused"] == 401
    assert said["invalid"] == [422, "PROJECT_FILE_INVALID"]


def uv(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["UV_PYTHON"] = sys.executable  # else it looks at every Python of this machine
    return subprocess.run([find_uv_bin(), *words], capture_output=True, text=True, timeout=400, env=environment)
