"""The tutorial, word for word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.journeys.machine import ROOT, Machine

BLOCK = re.compile(r"(?:^`(?P<name>[\w.]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


def test_the_tutorial_works_as_written(own_machine: Machine) -> None:
    page = (ROOT / "docs/tutorial.md").read_text()
    folder = own_machine.home.parent / "tutorial"
    folder.mkdir()
    bin_folder = _bough_on_path(folder)
    environment = own_machine.environment | {
        "BOUGH_GATEWAY": own_machine.gateway,
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
    }
    outputs, here = [], folder
    for block in BLOCK.finditer(page):
        if block["name"]:
            (here / block["name"]).write_text(block["text"])
        elif block["kind"] == "sh":
            script = f"set -e\ncd {here}\n{block['text']}\npwd > {folder}/where\n"
            done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=180)
            assert done.returncode == 0, f"{block['text']}\n{done.stdout}\n{done.stderr}"
            here = Path((folder / "where").read_text().strip())
            outputs.append(done.stdout)
    said = "\n".join(outputs)
    assert said.count('{"price":279000.0}') == 2
    assert said.count('{"price":301000.0}') == 3
    assert "INPUT_INVALID" in said
    assert "refused" in said


def _bough_on_path(folder: Path) -> Path:
    """A `bough` command that is this checkout's."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    command = bin_folder / "bough"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bough.entrypoints.cli.main "$@"\n')
    command.chmod(0o755)
    return bin_folder
