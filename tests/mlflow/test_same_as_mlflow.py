"""MLflow's newest client does the same things with its own server and with Bough, and is answered the same."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.depth import DEEP
from tests.mlflow.servers import PINNED, bough_server, client_says, mlflow_server
from tests.outside import environment

SCRIPT = "client.py"

SECTIONS = ("experiments", "runs", "search", "artifacts", "logged models", "traces", "registry", "prompts", "flavors")

# Answers that differ on purpose, and why. `<section>/<what>` of the client's script.
DIFFERENT = {
    "search/wrong metrics.loss = 1 metrics.loss = 2": "refused for want of an AND, not passed over",
    "logged models/filter status = 'READY'": "found, where MLflow compares the word with a number and finds none",
    "traces/filter name IN ('failing', 'in a run')": "found, where MLflow says that it takes such lists and does not",
    "traces/filter text LIKE '%bough%'": "found, where MLflow wants `trace.` before it",
    "traces/filter timestamp_ms = 'x'": "refused: a number is never a text",
    "traces/linked to no run": "refused: nobody would find them there",
    "traces/tag of nothing": "said as for every other thing that is not there",
}

Said = dict[str, list[list[Any]]]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Said, Said]:
    """What MLflow has said, and what Bough has."""
    folder = tmp_path_factory.mktemp("mlflow")
    with bough_server(folder / "bough") as (url, token):
        ours = _run(folder / "ours.json", url, token)
    return _theirs(folder), json.loads(ours.read_text("utf-8"))


def _theirs(folder: Path) -> Said:
    """One version of MLflow answers one script the same, so what it has answered is kept beside it, and
    `make test-deep` asks it again."""
    here = Path(__file__)
    asked = b"".join(here.with_name(each).read_bytes() for each in (SCRIPT, "servers.py", here.name))
    kept = environment(*PINNED) / f"said-{hashlib.sha256(asked).hexdigest()[:12]}.json"
    if DEEP or not kept.exists():
        with mlflow_server(folder / "mlflow") as url:
            said = _run(folder / "theirs.json", url, "")
        whole = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copyfile(said, whole)
        whole.replace(kept)
    found: Said = json.loads(kept.read_text("utf-8"))
    return found


def _run(out: Path, url: str, token: str) -> Path:
    settings = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
    settings |= {"MLFLOW_TRACKING_URI": url} | ({"MLFLOW_TRACKING_TOKEN": token} if token else {})
    client_says(SCRIPT, out, **settings)
    return out


@pytest.mark.timeout(900)  # the first time, MLflow is installed
def test_the_client_runs_against_both(said: tuple[Said, Said]) -> None:
    theirs, ours = said
    assert tuple(theirs) == tuple(ours) == SECTIONS


@pytest.mark.parametrize("section", SECTIONS)
def test_the_same_is_answered(said: tuple[Said, Said], section: str) -> None:
    theirs, ours = said
    different = [
        (what, rest, answered)
        for (what, *rest), (_, *answered) in zip(theirs[section], ours[section], strict=True)
        if rest != answered and f"{section}/{what}" not in DIFFERENT
    ]
    assert not different, "\n".join(f"{what}:\n  MLflow {theirs}\n  Bough  {ours}" for what, theirs, ours in different)


def test_what_differs_on_purpose_does(said: tuple[Said, Said]) -> None:
    theirs, ours = said
    for name in DIFFERENT:
        section, _, what = name.partition("/")
        one, other = ([each for each in side[section] if each[0] == what] for side in (theirs, ours))
        assert len(one) == len(other) == 1 and one != other, f"{name} is the same by now"
