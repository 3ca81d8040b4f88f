"""Every template of `bough init` deploys and answers its own example."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.journeys.machine import ROOT, Machine

TEMPLATES = sorted(path.name for path in (ROOT / "bough/entrypoints/cli/templates").iterdir() if path.is_dir())


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_deploys_and_answers(machine: Machine, template: str) -> None:
    name = f"from-{template}"
    machine.bough("init", "--template", template, name, cwd=machine.home.parent)
    project: Path = machine.home.parent / name
    deployed = machine.deploy(project)
    url = deployed["services"][0]["url"]
    if template == "web":
        assert machine.ask(f"/web/web.{name}/predict?q=x") == (200, b'{"prediction":"dummy","q":"x"}')
        return
    status, answer = machine.ask("/" + url.split("/", 3)[3], (project / "example.json").read_bytes())
    assert status == 200, answer
    if template == "minimal":
        assert json.loads(answer) == "Welcome back, Ada"


def test_there_are_templates_for_every_kind_of_service() -> None:
    assert {"minimal", "model", "onnx", "web", "stream"} == set(TEMPLATES)
