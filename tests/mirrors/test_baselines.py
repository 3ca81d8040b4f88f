"""What was measured elsewhere, kept in a project and compared with what is measured here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bough.gateway.taps.pairs import Answered, encode, paired
from bough.kernel.errors import Conflict, Invalid, NotFound
from tests.plane import Plane

TOML = """name = "shop"
[services.site]
command = "python app.py"
"""
BEFORE = b"service,latency_ms,status\nsite,10,200\nsite,20,200\nsite,40,500\n"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path)
    assert made.deploy(TOML).state == "live"
    made.call("environments.create", project="shop", branch="test")
    made.let_pass(1.0)
    yield made
    made.bough.stop()


def keep(plane: Plane, name: str, content: bytes) -> None:
    digest = plane.bough.blobs.put(content)
    plane.call("baselines.add", project="shop", name=name, content=digest)


def test_a_mirror_is_compared_with_a_baseline_on_either_side(plane: Plane) -> None:
    keep(plane, "old", BEFORE)
    made = plane.call("mirrors.start", project="shop", environment="main", to="test")
    seconds = ((0.010, 0.005), (0.020, 0.010), (0.040, 0.080))
    lines = [
        paired(0.0, str(at), "site", (Answered(200, one), b"a"), (Answered(200, other), b"a"), 0.0)
        for at, (one, other) in enumerate(seconds)
    ]
    path = plane.bough.home.traffic / "mirrors" / f"{made.id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(encode, lines)))

    def compared(side: str) -> dict[str, float]:
        found = plane.call("baselines.diff", project="shop", name="old", against=made.id, side=side)
        assert {each.name for each in found} == {"site"}
        return {each.metric: each.change_percent for each in found}

    assert compared("target") == {
        "requests": 0, "error_share": -100, "p50_ms": -50, "p95_ms": 100, "p99_ms": 100,
    }  # fmt: skip
    assert set(compared("source").values()) == {0.0, -100.0}, "the same latencies, and no error"
    with pytest.raises(Invalid, match="side"):
        compared("left")


def test_baselines_are_added_once_listed_compared_and_removed(plane: Plane) -> None:
    keep(plane, "old", BEFORE)
    keep(plane, "new", BEFORE.replace(b"40", b"60"))
    with pytest.raises(Conflict, match="already"):
        keep(plane, "old", BEFORE)
    with pytest.raises(Invalid, match="HAR, CSV"):
        keep(plane, "none", b"nothing")
    assert {each.name for each in plane.call("baselines.list", project="shop")} == {"old", "new"}
    found = plane.call("baselines.diff", project="shop", name="old", against="new")
    assert [(each.name, each.now) for each in found if each.change_percent] == [
        ("all", 60.0), ("all", 60.0), ("site", 60.0), ("site", 60.0),
    ]  # fmt: skip
    plane.call("baselines.remove", project="shop", name="old")
    with pytest.raises(NotFound, match="no baseline"):
        plane.call("baselines.diff", project="shop", name="old", against="new")
    with pytest.raises(NotFound, match="no baseline"):
        plane.call("baselines.remove", project="shop", name="old")
