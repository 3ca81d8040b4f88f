"""What goes wrong says what happened, why, and the command or edit that comes next; nothing that served is harmed."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.journeys.machine import Machine

GOOD = "class Model:\n    def predict(self, n: int) -> int:\n        return n\n"
TOML = '[services.it]\nmodel = "service:Model"\n'


@pytest.mark.parametrize(
    ("name", "toml", "files", "exit_code", "code", "said", "hint"),
    [
        (
            "unknown-key", TOML + "replica = 2\n", {"service_py": GOOD}, 2, "PROJECT_FILE_INVALID",
            "bough.toml:4: services.it.replica: unknown key; did you mean 'replicas'?", "line 4",
        ),
        ("not-toml", "[services.it\n", {}, 2, "PROJECT_FILE_INVALID", "not valid TOML", "edit bough.toml"),
        ("two-ways", TOML + 'command = "x"\n', {}, 2, "PROJECT_FILE_INVALID", "exactly one of", "edit bough.toml"),
        ("no-module", TOML, {}, 8, "MODEL_CODE_NOT_FOUND", "no module 'service'", ".boughignore"),
        (
            "no-library", TOML, {"service_py": "import not_installed_anywhere\n" + GOOD}, 8, "LIBRARY_MISSING",
            "there is no module 'not_installed_anywhere'", "add not_installed_anywhere to requirements.txt",
        ),
        (
            "load-throws", TOML, {"service_py": GOOD + "    def load(self):\n        1 / 0\n"}, 8, "LOAD_FAILED",
            "ZeroDivisionError", "bough dev",
        ),
        (
            "too-big", TOML + "resources.memory_mb = 64\n",
            {"service_py": GOOD + "    def load(self):\n        self.weights = bytes(bytearray(b'x' * (400 << 20)))\n"},
            8, "MEMORY_LIMIT", "more than its limit of 64 MB", "resources.memory_mb",
        ),
        (
            "wrong-python", 'python = "3.99"\n' + TOML, {"service_py": GOOD}, 8, "PYTHON_NOT_FOUND",
            "Python 3.99 is not installed", "uv python install 3.99",
        ),
        (
            "no-package", TOML, {"service_py": GOOD, "requirements_txt": "no-such-package-at-all==9\n"}, 8,
            "PACKAGE_NOT_FOUND", "there is no package 'no-such-package-at-all'", "check the spelling",
        ),
        (
            "never-listens", '[services.it]\ncommand = "sleep 60"\nhealth_timeout_s = 1\n', {}, 8, "NOT_HEALTHY",
            "did not answer below 500 in 1 s", "$PORT",
        ),
        (
            "ends-at-once", '[services.it]\ncommand = "exit 3"\n', {}, 8, "REPLICA_EXITED", "exited with status 3",
            "bough logs it",
        ),
        (
            "no-program", '[services.it]\ncommand = "no-such-program --port $PORT"\n', {}, 8, "REPLICA_EXITED",
            "exited with status 127", "correct `command`",
        ),
        ("no-replicas", TOML + "replicas = 0\n", {}, 2, "PROJECT_FILE_INVALID", "at least one", "sleep_after_s"),
        (
            "not-plain-docker", '[services.it]\ndockerfile = "Dockerfile"\n', {"Dockerfile": "FROM golang:1.22\n"}, 8,
            "DOCKERFILE_UNSUPPORTED", "golang", "docker",
        ),
        (
            "secret", TOML, {"service_py": GOOD + f"KEY = 'ghp_{'a' * 36}'\n"}, 2, "SECRET_IN_BUNDLE", "service.py",
            ".boughignore",
        ),
    ],
)  # fmt: skip
def test_every_mistake_has_its_words(
    machine: Machine, name: str, toml: str, files: dict[str, str], exit_code: int, code: str, said: str, hint: str
) -> None:
    project = machine.project(name, toml)
    for key, text in files.items():
        (project / key.replace("_", ".")).write_text(text)
    error: dict[str, Any] = machine.deploy(project, code=exit_code)["error"]
    assert error["code"] == code
    assert said in error["message"]
    assert hint in error["hint"]


def test_a_port_in_use_is_named_with_its_holder(machine: Machine, our_machine: Machine) -> None:
    our_machine.bough("down")
    done = our_machine.run("up", "--gateway-port", str(machine.gateway_port))
    assert done.returncode == 6
    assert f"port {machine.gateway_port}" in done.stderr
    assert str(machine.part("gateway")) in done.stderr
    assert "--gateway-port" in done.stderr


def test_a_service_whose_own_port_is_taken_goes_live_and_says_where_it_does_not_answer(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        project = machine.project("own-port", TOML + f"port = {port}\n")
        (project / "service.py").write_text(GOOD)
        done = machine.run("deploy", cwd=project)
    assert done.returncode == 0, done.stderr
    said = done.stderr + done.stdout
    assert f"port {port} on 127.0.0.1 is in use by" in said and "it does not answer there" in said


def test_no_service_takes_a_port_from_bough_itself(machine: Machine) -> None:
    """The server could not come back after its next end."""
    project = machine.project("api-port", TOML + f"port = {machine.gateway_port}\n")
    (project / "service.py").write_text(GOOD)
    assert machine.deploy(project, code=5)["error"]["code"] == "PORT_RESERVED"


def test_a_command_for_a_bough_that_does_not_run_says_how_to_start_it(our_machine: Machine) -> None:
    our_machine.bough("down")
    done = our_machine.run("status", "--project", "any")
    assert done.returncode == 6
    assert "bough up" in done.stderr
