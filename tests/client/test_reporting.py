"""`bough.run`: a program reports, and says by itself where it comes from."""

from __future__ import annotations

import hashlib
import itertools
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import bough
from bough.client import Client
from bough.client.inprocess import InProcess
from bough.client.reporting import Run
from bough.kernel.errors import Exhausted, Invalid, Problem, Unavailable
from bough.kernel.files import disk_full
from tests.client.scripted import Scripted, answer, hang_up
from tests.plane import ADMIN, Plane


@pytest.fixture
def client(tmp_path: Path) -> Client:
    plane = Plane(tmp_path / "plane")
    return Client(transport=InProcess(plane.bough.operations, ADMIN, plane.bough.blobs))


def test_a_run_reports_what_it_is_told_and_where_it_comes_from(client: Client, tmp_path: Path) -> None:
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "a.txt").write_text("hello")
    with bough.run("first", experiment="depth", project="shop", client=client, tags={"team": "blue"}) as run:
        run.log_params({"depth": 3})
        for step in range(3):
            run.log_metrics({"loss": 1 / (step + 1), "odd": math.nan}, step=step)
        run.set_tag("done", True)
        run.log_artifacts(tmp_path / "out", "results")
        run.log_input("features", kind="feature_view", version="7", context="training")
    seen = client.runs.show(project="shop", id=run.id)
    assert (seen.name, seen.experiment, seen.status) == ("first", "depth", "finished")
    assert seen.params == {"depth": "3"} and seen.tags["done"] == "True" and seen.tags["team"] == "blue"
    assert [(each.key, each.value, each.step) for each in seen.metrics] == [("loss", 1 / 3, 2), ("odd", "NaN", 2)]
    assert seen.source.hardware.cpus >= 1 and seen.source.hardware.memory_bytes > 1 << 20
    assert len(seen.source.commit) == 40, "the tests run in a git repository"
    assert seen.ended_at >= seen.started_at
    assert [each.name for each in seen.inputs] == ["features"]
    artifact = client.artifacts.show(project="shop", owner=run.id, path="results/deep/a.txt")
    assert b"".join(client.download(artifact.digest)) == b"hello"


@pytest.mark.parametrize(("error", "status"), [(ValueError("x"), "failed"), (KeyboardInterrupt(), "killed")])
def test_a_run_that_breaks_off_says_so(client: Client, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), bough.run(project="shop", client=client) as run:
        raise error
    assert client.runs.show(project="shop", id=run.id).status == status


class Full(InProcess):
    """Of a Bough whose disk is full for a while."""

    full = True

    def call(self, name: str, fields: Mapping[str, Any], key: str) -> Any:
        if name == "runs.log" and self.full:
            raise disk_full("tracking.db cannot be written", Path("home"))
        return super().call(name, fields, key)


@pytest.mark.parametrize("in_job", [True, False])
def test_a_full_disk_ends_no_training_and_what_was_logged_meanwhile_is_sent_later(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_job: bool
) -> None:
    plane = Plane(tmp_path / "other")
    transport = Full(plane.bough.operations, ADMIN, plane.bough.blobs)
    client = Client(transport=transport)
    made = client.runs.create(project="shop", name="a", experiment="a")
    run = Run(client, made, joined=in_job)
    if not in_job:
        with pytest.raises(Exhausted):
            run.log_metrics({"loss": 1.0})
        return
    for step in range(3):
        run.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
    run.end("killed")
    assert capsys.readouterr().err == "bough: tracking.db cannot be written; what is logged is sent later\n", "once"
    with pytest.raises(Exhausted):
        run.end()
    transport.full = False
    run.log_metrics({"loss": 0.1}, step=3)
    points = client.runs.metrics(project="shop", id=made.id, key="loss")
    assert [point.step for point in points.metrics] == [0, 1, 2, 3]


@pytest.mark.parametrize("in_job", [True, False])
def test_in_a_job_a_report_waits_for_a_bough_that_is_started_anew(
    monkeypatch: pytest.MonkeyPatch, in_job: bool
) -> None:
    ticks = itertools.count(step=5)
    server = Scripted(
        hang_up, hang_up, hang_up, answer('{"id": "run_1", "name": "a", "project": "shop", "environment": "main"}')
    )
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))  # each look at the clock is 5 s later
    for name, value in (("URL", server.url), ("TOKEN", "t"), ("PROJECT", "shop"), ("RUN", "run_1" if in_job else "")):
        monkeypatch.setenv(f"BOUGH_{name}", value)
    if in_job:
        with bough.run() as run:
            assert run.id == "run_1" and len(server.requests) == 4
    else:
        with pytest.raises(Unavailable):
            bough.run()
    server.close()


def test_a_dataset_is_an_input_as_it_is_now(client: Client) -> None:
    content = b"label,age"
    digest = hashlib.sha256(content).hexdigest()
    client.models.create(project="shop", name="m")  # makes the project's production
    client.put(content, digest)
    file = {"path": "a.csv", "digest": digest, "size": len(content)}
    done = client.files.commit(project="shop", dataset="images", files=[file])
    with bough.run(project="shop", client=client) as run:
        run.log_input("images", context="training")
        with pytest.raises(Problem):
            run.log_input("nothing")
    seen = client.runs.show(project="shop", id=run.id).inputs
    assert [(each.kind, each.name, each.version) for each in seen] == [("dataset", "images", f"#{done.change}")]


def test_importing_bough_loads_no_client() -> None:
    code = "import sys, bough; assert 'bough.client' not in sys.modules and callable(bough.run)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_without_a_project_it_says_how_to_name_one(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Invalid) as caught:
        bough.run(client=client)
    assert caught.value.own_code == "PROJECT_MISSING"
    (tmp_path / "bough.toml").write_text('name = "garden"\n')
    assert bough.run(client=client).project == "garden"
