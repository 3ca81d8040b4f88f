"""A workflow of at most 15 lines that calls one command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bough.client import Client, Record
from bough.entrypoints.cli.main import run
from bough.entrypoints.cli.session import Session
from tests.entrypoints.cli.test_main import Recorded

PROJECT = 'name = "shop"\n[services.churn]\nmodel = "service:Churn"\n'


@pytest.mark.parametrize("service", ["github", "gitlab"])
def test_the_workflow_is_short_valid_and_calls_one_command(
    service: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bough.toml").write_text(PROJECT)
    assert run(["ci", "init", service, str(tmp_path), "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert not Path(said["file"]).exists(), "a dry run writes nothing"
    assert run(["ci", "init", service, str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    text = Path(answer["file"]).read_text()
    assert text == said["text"]
    assert len(text.splitlines()) == answer["lines"] <= 15
    workflow: Any = yaml.safe_load(text)
    if service == "github":
        assert answer["file"].endswith(".github/workflows/bough.yml")
        steps = workflow["jobs"]["bough"]["steps"]
        assert workflow["jobs"]["bough"]["env"]["BOUGH_TOKEN"] == "${{ secrets.BOUGH_TOKEN }}"
    else:
        steps = [{"run": each} for each in workflow["bough"]["script"]]
        assert workflow["bough"]["artifacts"]["expose_as"] == "bough"
    assert sum("bough ci run --summary" in each.get("run", "") for each in steps) == 1
    assert run(["ci", "init", service, str(tmp_path), "--json"]) == 0, "twice is the same"
    Path(answer["file"]).write_text("mine: true\n")
    capsys.readouterr()
    assert run(["ci", "init", service, str(tmp_path), "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "FILE_EXISTS"


def test_an_unknown_service_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bough.toml").write_text(PROJECT)
    assert run(["ci", "init", "elsewhere", str(tmp_path)]) == 2


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Of a project on the git branch feature/größer; no CI service says what it builds."""
    for name in ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bough.toml").write_text(PROJECT)
    subprocess.run(["git", "init", "-q", "-b", "feature/größer", str(tmp_path)], check=True)
    made = Recorded()
    made.answers = {
        "environments.list": [Record(name="main")],
        "environments.create": Record(environment=Record(name="feature-grosser")),
        "blobs.missing": Record(missing=[]),
        "releases.create": Record(state="live", number=1),
    }
    return made


def ran(server: Recorded, *words: str) -> tuple[int, list[str], list[Any]]:
    """The exit code, what was called, and the environments that were named."""
    session = Session()
    session.use(Client(transport=server))
    code = run(["ci", "run", *words], session)
    called = [name for name, _ in server.asked]
    return code, called, [fields["environment"] for _, fields in server.asked if "environment" in fields]


def test_a_branch_never_goes_to_production_and_gets_an_environment(server: Recorded, tmp_path: Path) -> None:
    code, called, environments = ran(server, str(tmp_path))
    assert code == 0 and "environments.create" in called
    assert environments == ["feature-grosser"]
    server.asked.clear()
    server.answers["environments.list"].append(Record(name="there", branch="feature/größer"))
    assert ran(server, str(tmp_path))[2] == ["there"]


def test_a_dry_run_changes_nothing(
    server: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, called, _ = ran(server, str(tmp_path), "--dry-run")
    assert (code, called) == (0, ["environments.list", "releases.plan"])
    assert "would make an environment for the branch feature/größer" in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_REF_NAME", "main")
    server.asked.clear()
    assert ran(server, str(tmp_path), "--dry-run")[1:] == (["releases.plan"], ["main"])
    assert "would make" not in capsys.readouterr().out
