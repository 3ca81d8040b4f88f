"""Artifacts are blobs under paths; none leads out, none is half, and garbage collection knows them."""

from __future__ import annotations

from typing import Any

import pytest

from bough.kernel.errors import Conflict, Invalid, NotFound
from tests.plane import Plane


def run(plane: Plane) -> str:
    return str(plane.call("runs.create", project="shop").id)


def put(plane: Plane, owner: str, path: str, content: bytes = b"x") -> Any:
    digest = plane.bough.blobs.put(content)
    return plane.call("artifacts.put", project="shop", owner=owner, path=path, digest=digest)


def names(plane: Plane, owner: str, path: str = "", **fields: Any) -> list[str]:
    return [each.path for each in plane.call("artifacts.list", project="shop", owner=owner, path=path, **fields)]


def test_artifacts_are_listed_folder_by_folder(plane: Plane) -> None:
    id = run(plane)
    for path in ("a ü.txt", "deep/b", "deep/er/c", "deeper"):
        put(plane, id, path, path.encode())
    assert names(plane, id) == ["a ü.txt", "deep", "deeper"]
    assert names(plane, id, "deep") == ["deep/b", "deep/er"]
    assert names(plane, id, all=True) == ["a ü.txt", "deep/b", "deep/er/c", "deeper"]
    assert names(plane, id, "deep/b") == []
    assert plane.call("artifacts.remove", project="shop", owner=id, path="deep").files == 2
    assert names(plane, id) == ["a ü.txt", "deeper"]


@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "/etc/passwd", "a\\b", "a\0b", "", "a//b", "./a"])
def test_no_path_leads_out(plane: Plane, path: str) -> None:
    id = run(plane)
    with pytest.raises(Invalid):
        put(plane, id, path)
    with pytest.raises(Invalid):
        plane.call("artifacts.show", project="shop", owner=id, path=path)


def test_a_path_is_not_file_and_folder_at_once(plane: Plane) -> None:
    id = run(plane)
    put(plane, id, "a/b")
    for path in ("a", "a/b/c"):
        with pytest.raises(Conflict):
            put(plane, id, path)
    put(plane, id, "a/b", b"another")


def test_what_was_not_sent_is_no_artifact(plane: Plane) -> None:
    with pytest.raises(Invalid) as caught:
        plane.call("artifacts.put", project="shop", owner=run(plane), path="a", digest="0" * 64)
    assert caught.value.own_code == "BLOB_MISSING"
    with pytest.raises(NotFound):
        put(plane, "nobody", "a")


def test_garbage_collection_spares_artifacts(plane: Plane) -> None:
    id = run(plane)
    kept = put(plane, id, "kept", b"kept").digest
    gone = put(plane, id, "gone", b"gone").digest
    plane.call("artifacts.remove", project="shop", owner=id, path="gone")
    plane.clock.advance(10 * 365 * 86_400.0)  # far beyond the time that a blob is spared for having been used
    plane.call("gc.run")
    assert plane.bough.blobs.has(kept) and not plane.bough.blobs.has(gone)


def test_a_logged_model_has_artifacts_of_its_own(plane: Plane) -> None:
    model = plane.call("logged_models.create", project="shop", name="m", run=run(plane), params={"a": "1"})
    assert model.status == "pending" and model.id.startswith("m-")
    put(plane, model.id, "MLmodel")
    done = plane.call("logged_models.finish", project="shop", id=model.id, status="ready")
    assert done.status == "ready" and names(plane, model.id) == ["MLmodel"]
    with pytest.raises(Invalid):
        plane.call("logged_models.tag", project="shop", id=model.id, params={"a": "2"})
