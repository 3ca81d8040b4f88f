"""A service that names a registered model: what a release pins, what comes back, what is refused."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.composition.keeping import REFERENCES
from bough.data.garbage import Collector
from bough.kernel.clock import SystemClock
from bough.kernel.errors import Problem, ProjectFileInvalid
from bough.runtime import verified
from bough.runtime.failures import LoadError
from bough.runtime.spec import RegisteredModel
from tests.plane import Plane, bundle

FILE = """
name = "shop"
[services.churn]
model = "models:/churn@champion"
"""
TWO = """
name = "shop"
[services.api]
model = "service:Api"
models = { churn = "models:/churn@champion", price = "models:/price/1" }
"""


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    made = Plane(tmp_path)
    made.call("projects.create", name="shop")
    return made


def register(plane: Plane, content: str, name: str = "churn", environment: str = "main", **fields: Any) -> Any:
    files = [{"path": "model.onnx", "digest": plane.bough.blobs.put(content.encode()), "size": len(content)}]
    place = {"project": "shop", "environment": environment}
    return plane.call("models.register", **place, name=name, files=files, aliases=["champion"], **fields)


def settled(plane: Plane, seconds: float = 3.0) -> None:
    """Views are made in threads, which the virtual clock does not see."""
    for _ in range(20):
        plane.let_pass(seconds / 20)
        for thread in threading.enumerate():
            if thread.name == "model":
                thread.join(60)


def deploy(plane: Plane, file: str = FILE, environment: str = "main", **fields: Any) -> Any:
    made = plane.create(file, environment=environment, **fields)
    settled(plane)
    return plane.release(made)


def spec(plane: Plane, service: str = "churn", environment: str = "main") -> Any:
    """What a running unit was started with."""
    running = {each.unit: each.attempt for each in plane.units() if each.state != "exited"}
    found = [
        run.spec
        for unit, attempts in plane.engine._units.items()
        for number, run in attempts.items()
        if running.get(unit) == number
        and (run.spec.labels["service"], run.spec.labels["environment"]) == (service, environment)
    ]
    return found[-1]


def manifest(plane: Plane, release: Any) -> Any:
    return plane.call("releases.show", project="shop", number=release.number, environment=release.environment).manifest


def test_a_release_pins_the_version_and_the_unit_gets_its_files(plane: Plane) -> None:
    made = register(plane, "one")
    release = deploy(plane)
    assert release.state == "live", release.failure
    pin = manifest(plane, release).services["churn"].models["model"]
    assert (pin.name, pin.version, pin.digest, pin.id) == ("churn", 1, made.digest, made.id)
    given = spec(plane)
    model = given.model.models["model"]
    assert given.model.reference == f"file:{model.folder}"
    assert given.environment["BOUGH_MODEL"] == model.folder
    assert (Path(model.folder) / "model.onnx").read_text() == "one"
    assert (Path(model.folder) / "model.onnx").stat().st_mode & 0o222 == 0
    verified.check(model)


def test_an_alias_that_moves_changes_nothing_until_the_next_deploy(plane: Plane) -> None:
    register(plane, "one")
    first = deploy(plane)
    before = plane.running()
    register(plane, "two")
    settled(plane)
    assert plane.running() == before
    plan = plane.call("releases.plan", file=FILE, bundles=bundles(plane))
    assert plan.changes[0].keys == {"models.model": ["churn/1", "churn/2"]}
    assert plan.changes[0].restarts
    second = deploy(plane)
    assert second.digest != first.digest
    assert manifest(plane, second).services["churn"].models["model"].version == 2


def bundles(plane: Plane) -> dict[str, str]:
    return {".": bundle(plane.bough.blobs, {"service.py": "one"})}


def test_a_rollback_restores_the_version_byte_for_byte(plane: Plane) -> None:
    register(plane, "one")
    first = deploy(plane)
    register(plane, "two")
    deploy(plane)
    back = plane.call("releases.rollback", project="shop")
    settled(plane)
    assert plane.release(back).state == "live"
    assert back.digest == first.digest
    assert (Path(spec(plane).model.models["model"].folder) / "model.onnx").read_text() == "one"


def test_a_version_that_a_release_pins_outlives_its_deletion(plane: Plane, tmp_path: Path) -> None:
    register(plane, "one")
    deploy(plane)
    register(plane, "two")
    deploy(plane)
    plane.call("models.delete", project="shop", model="churn")
    for _ in range(2):
        Collector(plane.bough.database, plane.bough.blobs, SystemClock(), REFERENCES, tmp_path / "lock").run(
            grace_s=-10.0, retention_s=0.0
        )
    back = plane.call("releases.rollback", project="shop")
    settled(plane)
    assert plane.release(back).state == "live"
    assert plane.bough.blobs.has(hashlib.sha256(b"one").hexdigest())


def test_a_service_may_load_several_under_names_of_its_own(plane: Plane) -> None:
    register(plane, "one")
    register(plane, "cheap", name="price")
    assert deploy(plane, TWO).state == "live"
    given = spec(plane, "api")
    assert given.model.reference == "service:Api"
    assert {name: each.reference for name, each in given.model.models.items()} == {
        "churn": "churn/1", "price": "price/1",
    }  # fmt: skip
    assert (Path(given.environment["BOUGH_MODEL_PRICE"]) / "model.onnx").read_text() == "cheap"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ('model = "models:/churn"', "names no version"),
        ('model = "models:/churn@7"', "cannot be an alias"),
        ('model = "models:/churn@nosuch"', "no model 'churn' with the alias 'nosuch'"),
        ('model = "models:/churn/9"', "no version 9"),
        ('model = "service:A"\nmodels = { churn = "churn@champion" }', "no version in the registry"),
        ('model = "service:A"\nmodels = { model = "models:/churn@champion" }', "under a name of its own"),
        ('model = "service:A"\nmodels = { "a b" = "models:/churn@champion" }', "cannot be the name"),
    ],
)
def test_what_cannot_be_meant_is_said_with_its_line(plane: Plane, settings: str, says: str) -> None:
    register(plane, "one")
    with pytest.raises(Problem) as caught:
        plane.create(f'name = "shop"\n[services.churn]\n{settings}\n')
    assert says in caught.value.message
    assert "bough.toml:" in caught.value.message
    if isinstance(caught.value, ProjectFileInvalid):
        assert caught.value.fields["line"] in (3, 4)


def test_a_branch_runs_what_it_inherits_and_a_merge_what_its_target_sees(plane: Plane) -> None:
    register(plane, "one")
    deploy(plane)
    plane.call("environments.create", project="shop", branch="work")
    register(plane, "two", environment="work")
    branch = deploy(plane, FILE + "timeout_s = 5\n", environment="work")
    assert manifest(plane, branch).services["churn"].models["model"].version == 2
    assert (Path(spec(plane, environment="work").model.models["model"].folder) / "model.onnx").read_text() == "two"
    merged = plane.call("environments.merge", project="shop", branch="work").release
    settled(plane)
    assert plane.release(merged).state == "live"
    assert manifest(plane, merged).services["churn"].models["model"].version == 2


def test_a_branch_that_is_behind_does_not_bring_an_old_version_back(plane: Plane) -> None:
    register(plane, "one")
    deploy(plane)
    plane.call("environments.create", project="shop", branch="work")
    deploy(plane, FILE + "timeout_s = 5\n", environment="work")
    register(plane, "two")
    deploy(plane)
    merged = plane.call("environments.merge", project="shop", branch="work").release
    found = manifest(plane, merged).services["churn"]
    assert (found.settings.timeout_s, found.models["model"].version) == (5.0, 2)


def test_a_branch_and_its_parent_load_from_one_place(plane: Plane) -> None:
    """Else they could not share a zygote."""
    register(plane, "one")
    deploy(plane)
    plane.call("environments.create", project="shop", branch="work")
    deploy(plane, FILE + 'env = { A = "1" }\n', environment="work")
    assert spec(plane).model.models == spec(plane, environment="work").model.models


# --- signed versions


def test_an_environment_that_requires_signers_deploys_nothing_else(plane: Plane) -> None:
    register(plane, "one")
    plane.call("signers.trust", project="shop", environment="main", required=True)
    with pytest.raises(Problem) as caught:
        plane.create(FILE)
    assert caught.value.own_code == "MODEL_NOT_SIGNED"
    plane.call("signers.create", project="shop", name="ci")
    plane.call("models.sign", project="shop", model="churn/1")
    assert deploy(plane).state == "live"


def test_after_a_revocation_neither_deploy_nor_rollback_nor_restart_loads_it(plane: Plane) -> None:
    key = plane.call("signers.create", project="shop", name="ci").key
    register(plane, "one")
    deploy(plane)
    plane.call("signers.create", project="shop", name="other", automatic=False)
    register(plane, "two", signer="other")
    deploy(plane)
    plane.call("signers.revoke", project="shop", key=key, why="stolen")
    with pytest.raises(Problem) as caught:
        plane.call("releases.rollback", project="shop")
    assert caught.value.own_code == "MODEL_SIGNER_REVOKED"
    plane.call("models.alias", project="shop", name="churn", alias="champion", version=1)
    with pytest.raises(Problem) as caught:
        plane.create(FILE)
    assert caught.value.own_code == "MODEL_SIGNER_REVOKED"
    plane.call("models.sign", project="shop", model="churn/1", signer="other")
    assert deploy(plane).state == "live"


def test_what_sleeps_is_not_woken_to_load_what_was_revoked(plane: Plane) -> None:
    key = plane.call("signers.create", project="shop", name="ci").key
    register(plane, "one")
    deploy(plane)
    plane.call("environments.create", project="shop", branch="work")
    settled(plane)
    labels = {"service": "churn", "environment": "work"}

    def asleep() -> list[str]:
        return [each.unit for each in plane.units() if labels.items() <= each.labels.items()]

    [unit] = asleep()
    plane.call("signers.revoke", project="shop", key=key, why="stolen")
    settled(plane)
    assert asleep() == []
    place = {"project": "shop", "environment": "work"}
    assert plane.call("services.show", **place, service="churn").failure["code"] == "MODEL_SIGNER_REVOKED"
    plane.call("signers.create", project="shop", name="other")
    plane.call("models.sign", project="shop", model="churn/1", signer="other")
    settled(plane)
    assert asleep() == [unit]


def test_a_blob_that_was_changed_before_the_first_start_fails_the_release_with_the_files_name(plane: Plane) -> None:
    register(plane, "one")
    place = plane.bough.blobs.local_path(hashlib.sha256(b"one").hexdigest())
    assert place is not None
    place.chmod(0o600)
    place.write_text("oNe")
    release = deploy(plane)
    assert (release.state, release.failure["code"]) == ("failed", "MODEL_TAMPERED")
    assert release.failure["message"].startswith("model.onnx of churn/1 is not")


def test_a_web_services_models_are_read_for_it_before_every_start(plane: Plane) -> None:
    register(plane, "one")
    file = 'name = "shop"\n[services.web]\ncommand = "python app.py"\nmodels = { churn = "models:/churn@champion" }\n'
    assert deploy(plane, file).state == "live"
    place = Path(spec(plane, "web").environment["BOUGH_MODEL_CHURN"]) / "model.onnx"
    place.chmod(0o600)
    place.write_text("oNe")
    plane.engine.crash(plane.running()[0], code=1)
    settled(plane, 6)
    assert plane.running() == []


# --- what a replica looks at before it loads


@pytest.fixture
def model(tmp_path: Path) -> RegisteredModel:
    files = {"model.onnx": b"weights", "a/b.txt": b"labels"}
    folder = tmp_path / "view/files"
    listed = []
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        listed.append({"path": path, "digest": hashlib.sha256(content).hexdigest(), "size": len(content)})
    content = msgspec.json.encode(listed)
    (folder.parent / "files.json").write_bytes(content)
    return RegisteredModel(reference="churn/1", folder=str(folder), digest=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"weighty"), "model.onnx"),
        (lambda folder: (folder / "a/b.txt").unlink(), "a/b.txt"),
        (lambda folder: (folder / "a/extra").write_bytes(b""), "a/extra"),
        (lambda folder: (folder / "link").symlink_to("/etc"), "link"),
        (lambda folder: (folder.parent / "files.json").write_bytes(b"[]"), "files.json"),
        (lambda folder: (folder.parent / "files.json").unlink(), "files.json"),
    ],
    ids=["byte", "missing", "extra", "link", "list", "no list"],
)
def test_what_differs_is_refused_by_name(model: RegisteredModel, change: Any, path: str) -> None:
    verified.check(model)
    change(Path(model.folder))
    with pytest.raises(LoadError) as caught:
        verified.check(model)
    assert caught.value.code == "MODEL_TAMPERED"
    assert str(caught.value).startswith(f"{path} of churn/1 ")
