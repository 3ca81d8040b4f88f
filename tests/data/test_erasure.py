"""What is erased is gone from every environment, tag and all history; the proof says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.app import Bough
from bough.client import Client
from bough.client.inprocess import InProcess
from bough.kernel import catalog
from bough.kernel.context import SYSTEM
from bough.kernel.errors import NotFound
from bough.kernel.platform import Platform
from tests.plane import laid


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Bough]:
    made = Bough(laid(tmp_path / "home"), Platform(), durable=False)
    yield made
    made.database.close()


@pytest.fixture
def client(platform: Bough) -> Client:
    made = Client(transport=InProcess(platform.operations, SYSTEM, platform.blobs))
    made.projects.create(name="shop")
    return made


def commit(platform: Bough, client: Client, environment: str = "main", **texts: str) -> None:
    files: list[Any] = [
        {"path": path.replace("_", "/"), "digest": platform.blobs.put(text.encode()), "size": len(text)}
        for path, text in texts.items()
    ]
    client.files.commit(project="shop", dataset="d", files=files, environment=environment)


def test_a_file_goes_from_branches_tags_and_history_and_its_bytes_with_it(platform: Bough, client: Client) -> None:
    commit(platform, client, ada="first of ada", bob="bob")
    commit(platform, client, ada="second of ada")
    client.tags.create(project="shop", name="v1")
    with platform.database.write() as tx:
        child = catalog.open_head(tx, "shop", "try", catalog.point(tx, "shop", "main"))
    commit(platform, client, "try", ada="third of ada")
    proof = client.data.erase(project="shop", dataset="d", path="ada")
    assert [(each.key, each.layer == child) for each in proof.entries] == [
        ("d/ada", False),
        ("d/ada", False),
        ("d/ada", True),
    ]
    assert "tag v1" in proof.entries[0].seen_in and "try" in proof.entries[0].seen_in
    assert len(proof.deleted_blobs) == 3 and proof.remains == []
    for at in ("", "v1", "#1", "#2"):
        with pytest.raises(NotFound):
            client.files.list(project="shop", path="d/ada", at=at)
    assert {platform.blobs.read(each.digest) for each in platform.blobs.held()} == {b"bob"}
    again = client.data.erase(project="shop", dataset="d", path="ada")
    assert (again.entries, again.remains) == ([], [])
    assert [len(each.entries) for each in client.data.erasures(project="shop")] == [0, 3]


def test_bytes_that_another_file_has_stay_and_the_proof_says_so(platform: Bough, client: Client) -> None:
    commit(platform, client, ada="same", bob="same")
    proof = client.data.erase(project="shop", dataset="d", path="ada")
    assert proof.deleted_blobs == [] and "same content" in proof.remains[0]
    assert [each.path for each in client.files.list(project="shop", path="d")] == ["d/bob"]


def test_a_view_of_a_running_unit_loses_the_file_too(platform: Bough, client: Client) -> None:
    commit(platform, client, x_ada="ada", x_bob="bob")
    view = platform.home.views / "dep_1/abc/d/x"
    view.mkdir(parents=True)
    for path, name in (("ada", "ada"), ("bob", "bob")):
        (view / path).write_text(name)
    view.chmod(0o555)
    client.data.erase(project="shop", dataset="d", path="x/ada")
    assert [path.name for path in view.iterdir()] == ["bob"]
