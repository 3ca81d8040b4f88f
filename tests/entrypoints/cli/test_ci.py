"""A workflow of at most 15 lines that calls one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bough.entrypoints.cli.main import run

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
