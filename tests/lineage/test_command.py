"""`bough lineage` against a server."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bough.entrypoints.cli.main import run
from tests.lineage.conftest import event, register
from tests.lineage.test_operations import ORDERS
from tests.plane import Plane


def test_a_tree_a_picture_and_json(
    plane: Plane, server: str, token: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(plane, run="run_1", inputs=[ORDERS])
    words = ["lineage", "churn/1", "--project", "shop", "--url", server, "--token", token]
    assert run([*words, "--svg", str(tmp_path / "churn.svg")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "version churn/1  (by admin, environment main)",
        "",
        "made from:",
        "└─ run run_1  (made)",
        "   └─ table orders @#17  (input)",
        "      └─ table orders",
        "",
        "made with it: nothing",
    ]
    drawn = ElementTree.parse(tmp_path / "churn.svg").getroot()
    assert len(drawn.findall("{http://www.w3.org/2000/svg}g")) == 4
    assert run([*words, "--json", "--up", "--depth", "1"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in answer["things"]] == ["version", "run"]
    assert answer["more"] == ["run:shop/run_1"]


def test_what_is_not_known_is_an_error_with_a_way_on(
    server: str, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lineage", "nothing", "--project", "shop", "--url", server, "--token", token]) == 4
    assert "MODEL_NOT_FOUND" in capsys.readouterr().err


def test_an_event_from_the_command_line(
    plane: Plane, server: str, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.dumps(event(writes=("bough://shop table/orders",)))
    there = ["--url", server, "--token", token]
    assert run(["openlineage", "accept", "--event", told, *there]) == 0
    capsys.readouterr()
    assert run(["lineage", "table:orders", "--up", "--project", "shop", *there]) == 0
    assert "└─ job airflow/clean  (wrote, state finished)" in capsys.readouterr().out
