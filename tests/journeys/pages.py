"""Pages of the documentation, run word for word: files are written, shell blocks run in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.journeys.machine import ROOT, Machine

BLOCK = re.compile(r"(?:^`(?P<name>[\w.]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


def run(page: str, machine: Machine) -> str:
    """Everything that the page's commands print. Fails with the block that fails."""
    folder = machine.home.parent / Path(page).stem
    folder.mkdir()
    bin_folder = _bough_on_path(folder)
    environment = machine.environment | {
        "BOUGH_GATEWAY": machine.gateway,
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    outputs, here = [], folder
    (folder / "variables").touch()
    for block in BLOCK.finditer((ROOT / page).read_text()):
        if block["name"]:
            (here / block["name"]).write_text(block["text"])
        elif block["kind"] == "sh":
            told = f"pwd > {folder}/where\nexport -p > {folder}/variables\n"  # what the next block goes on with
            script = f"set -ea\n. {folder}/variables\ncd {here}\n{block['text']}\n{told}"
            done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=500)
            assert done.returncode == 0, f"{block['text']}\n{done.stdout}\n{done.stderr}"
            here = Path((folder / "where").read_text().strip())
            outputs.append(done.stdout)
    return "\n".join(outputs)


def _bough_on_path(folder: Path) -> Path:
    """A `bough` command that is this checkout's."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    command = bin_folder / "bough"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bough.entrypoints.cli.main "$@"\n')
    command.chmod(0o755)
    return bin_folder
