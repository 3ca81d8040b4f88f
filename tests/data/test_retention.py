"""Files of a dataset go everywhere when their time is over; nobody else's do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.data.garbage import Collector
from bough.kernel.context import Principal, Role
from bough.kernel.errors import Forbidden, NotFound
from tests.plane import Plane

DAY = 86_400.0


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path)
    made.call("projects.create", name="shop")
    yield made
    made.bough.stop()


def put(plane: Plane, dataset: str, environment: str = "main", remove: tuple[str, ...] = (), **texts: str) -> None:
    files = [
        {"path": path, "digest": plane.bough.blobs.put(text.encode()), "size": len(text)}
        for path, text in texts.items()
    ]
    fields: dict[str, Any] = {"dataset": dataset, "environment": environment, "remove": list(remove)}
    plane.call("files.commit", project="shop", files=files, **fields)


def shown(plane: Plane, environment: str = "main", at: str = "") -> list[str]:
    fields = {"environment": environment, "at": at, "all": True}
    return [each.path for each in plane.call("files.list", project="shop", **fields)]


def texts(plane: Plane) -> set[str]:
    blobs = plane.bough.blobs
    return {text for each in blobs.held() if (text := blobs.read(each.digest).decode()).startswith("text")}


def retain(plane: Plane, dataset: str, days: float, **fields: Any) -> Any:
    return plane.call("data.retain", project="shop", dataset=dataset, days=days, **fields)


def test_what_is_too_old_goes_from_branches_tags_and_history_and_what_is_not_stays(plane: Plane) -> None:
    put(plane, "calls", a="text a1", b="text b1")
    put(plane, "photos", a="text photo")
    plane.call("tags.create", project="shop", name="v1")
    plane.call("environments.create", project="shop", branch="dev")
    put(plane, "calls", "dev", c="text c1", remove=("b",))
    plane.clock.advance(6 * DAY)
    put(plane, "calls", a="text a2")
    assert [each.dataset for each in retain(plane, "calls", 10)] == ["calls"]
    plane.call("gc.run")
    assert len(plane.call("data.erasures", project="shop")) == 0, "ten days have not passed"
    plane.clock.advance(4 * DAY)
    assert plane.call("gc.run", dry_run=True) and shown(plane, at="v1") == ["calls/a", "calls/b", "photos/a"]
    plane.call("gc.run")
    assert shown(plane) == ["calls/a", "photos/a"] and shown(plane, "dev") == ["photos/a"] == shown(plane, at="v1")
    [proof] = plane.call("data.erasures", project="shop")
    assert (proof.by, proof.dataset, proof.remains) == ("retention", "calls", [])
    assert sorted((each.key, len(each.digests)) for each in proof.entries) == [
        ("calls/a", 1), ("calls/b", 0), ("calls/b", 1), ("calls/c", 1),
    ]  # fmt: skip
    assert any("tag v1" in each.seen_in and "dev" in each.seen_in for each in proof.entries)
    changed = [each for each in plane.call("events.list", limit=1000) if each.name == "files.changed"]
    assert {each.data["environment"] for each in changed[-2:]} == {"main", "dev"}, "services hear of it"


def test_bytes_go_with_the_garbage_and_views_of_units_at_once(plane: Plane) -> None:
    put(plane, "calls", a="text a", b="text b")
    view = plane.bough.home.views / "dep_1/abc/calls"
    view.mkdir(parents=True)
    for name in "ab":
        (view / name).write_text(name)
    retain(plane, "calls", 1)
    plane.clock.advance(DAY / 2)
    put(plane, "calls", b="text b2")
    plane.clock.advance(DAY / 2)
    plane.bough.operations._parts.get(Collector).run(grace_s=-1e10)
    assert texts(plane) == {"text b2"} and [path.name for path in view.iterdir()] == ["b"]


def test_a_rule_can_be_taken_back_and_is_an_admins(plane: Plane) -> None:
    put(plane, "calls", a="text a")
    retain(plane, "calls", 1)
    assert retain(plane, "calls", 0) == [] == plane.call("data.retentions", project="shop")
    plane.clock.advance(100 * DAY)
    plane.call("gc.run")
    assert shown(plane) == ["calls/a"]
    with pytest.raises(Forbidden):
        retain(plane, "calls", 1, by=Principal(id="pri_dev", name="dev", role=Role.DEVELOPER))
    retain(plane, "calls", 1)
    plane.call("gc.run")
    with pytest.raises(NotFound):
        plane.call("files.list", project="shop", path="calls/a")
