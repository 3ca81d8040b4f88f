"""Models, versions and aliases, as environments see them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bough.composition.keeping import REFERENCES
from bough.data.garbage import Collector
from bough.kernel import catalog
from bough.kernel.catalog import MODEL, Write
from bough.kernel.clock import SystemClock
from bough.kernel.context import Principal, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from bough.registry import store
from tests.plane import Plane

DEVELOPER = Principal(id="pri_dev", name="dev", role=Role.DEVELOPER)


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    made = Plane(tmp_path)
    made.call("projects.create", name="shop")
    return made


def put(plane: Plane, content: str, path: str = "model.onnx") -> dict[str, Any]:
    return {"path": path, "digest": plane.bough.blobs.put(content.encode()), "size": len(content.encode())}


def register(plane: Plane, name: str = "churn", content: str = "one", **fields: Any) -> Any:
    return plane.call("models.register", project="shop", name=name, files=[put(plane, content)], **fields)


def resolve(plane: Plane, reference: str, environment: str = "main") -> Any:
    return plane.call("models.resolve", project="shop", model=reference, environment=environment)


def alias(plane: Plane, name: str, alias: str, version: int, environment: str = "main", **fields: Any) -> Any:
    place = {"project": "shop", "environment": environment}
    return plane.call("models.alias", **place, name=name, alias=alias, version=version, **fields)


def branch(plane: Plane, name: str) -> None:
    plane.call("environments.create", project="shop", branch=name)


def blobs_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def events(plane: Plane, name: str) -> list[Any]:
    return [each for each in plane.call("events.list", limit=1000) if each.name == name]


def test_versions_are_numbered_and_say_where_they_come_from(plane: Plane) -> None:
    facts = {
        "run": "run_1", "commit": "abc", "metrics": {"auc": 0.9}, "parameters": {"depth": "3"},
        "inputs": [{"kind": "table", "name": "orders", "version": "#12"}],
    }  # fmt: skip
    first = register(plane, facts=facts, aliases=["candidate"], tags={"team": "risk"}, card="# Churn")
    second = register(plane, content="two")
    assert (first.number, second.number) == (1, 2)
    found = resolve(plane, "churn@candidate")
    assert found == first
    assert (found.facts.metrics, found.facts.inputs[0].version, found.card) == ({"auc": 0.9}, "#12", "# Churn")
    assert (found.files, found.bytes, found.environment, found.by) == (1, 3, "main", "admin")
    assert [each.number for each in plane.call("models.versions", project="shop", name="churn")] == [2, 1]
    model = plane.call("models.show", project="shop", name="churn")
    assert (model.newest, model.aliases) == (2, {"candidate": 1})
    assert plane.call("models.files", project="shop", model="churn/1")[0].path == "model.onnx"


def test_equal_files_have_an_equal_digest_however_they_are_listed(plane: Plane) -> None:
    files = [put(plane, "a", "a.txt"), put(plane, "b", "b.txt")]
    one = plane.call("models.register", project="shop", name="churn", files=files)
    other = plane.call("models.register", project="shop", name="else", files=files[::-1])
    assert one.digest == other.digest


def test_versions_by_when_they_were_changed_and_the_newest_of_each_stage(plane: Plane) -> None:
    """Of a name that is the beginning of another's, and of a branch that goes its own way."""
    at: dict[str, Any] = {"project": "shop", "name": "churn"}
    for content in "abcde":
        register(plane, content=content)
    register(plane, name="churn/versions/9", content="other")
    branch(plane, "work")
    for number, stage in ((2, "Staging"), (1, "Staging"), (5, "Archived"), (4, "Archived")):
        plane.clock.advance(1.0)
        plane.call("models.stage", project="shop", model=f"churn/{number}", stage=stage)
    plane.clock.advance(1.0)
    plane.call("models.delete", project="shop", model="churn/3", environment="work")
    register(plane, content="f", environment="work")
    changed = plane.call("models.versions", **at, order="changed")
    assert [each.number for each in changed] == [4, 5, 1, 2, 3]
    page = plane.call("models.versions", **at, order="changed", skip=1, limit=2)
    assert [each.number for each in page] == [5, 1]
    assert [(each.number, each.stage) for each in plane.call("models.latest", **at)] == [
        (5, "Archived"), (3, "None"), (2, "Staging")
    ]  # fmt: skip
    assert [each.number for each in plane.call("models.latest", **at, environment="work")] == [6]
    seen = plane.call("models.versions", **at, order="changed", environment="work")
    assert [each.number for each in seen] == [6, 5, 4, 2, 1]
    with pytest.raises(NotFound):
        plane.call("models.versions", project="shop", name="none", order="changed")


def test_an_alias_moves_and_its_event_says_from_where(plane: Plane) -> None:
    register(plane)
    register(plane, content="two")
    alias(plane, "churn", "champion", 1)
    alias(plane, "churn", "champion", 2, why="better")
    alias(plane, "churn", "champion", 2)  # nothing moves
    said = [(each.data["version"], each.data["before"], each.data["why"]) for each in events(plane, "model.alias_set")]
    assert said == [(1, 0, ""), (2, 1, "better")]
    plane.call("models.unalias", project="shop", name="churn", alias="champion")
    with pytest.raises(NotFound) as caught:
        resolve(plane, "churn@champion")
    assert caught.value.own_code == "MODEL_ALIAS_NOT_FOUND"
    with pytest.raises(NotFound) as caught:
        plane.call("models.unalias", project="shop", name="churn", alias="champion")
    assert caught.value.own_code == "MODEL_ALIAS_NOT_FOUND"
    with pytest.raises(NotFound) as caught:
        alias(plane, "churn", "champion", 3)
    assert caught.value.own_code == "MODEL_VERSION_NOT_FOUND"


@pytest.mark.parametrize("name", ["équipe/churn", "チーム/離反/モデル", "a%2Fb", "a/versions/1", "v 2", "100%"])
def test_names_may_have_any_script_and_slashes(plane: Plane, name: str) -> None:
    register(plane, name=name, aliases=["champion"])
    register(plane, name="a", aliases=["champion"])
    assert resolve(plane, f"models:/{name}@champion").name == name
    assert resolve(plane, f"{name}/1").name == name
    assert sorted(each.name for each in plane.call("models.list", project="shop")) == sorted(["a", name])
    assert plane.call("models.show", project="shop", name="a").newest == 1


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "a@b", "a/../b", " a", "a\n", "x" * 300])
def test_names_that_could_be_mistaken_are_refused(plane: Plane, name: str) -> None:
    with pytest.raises(Invalid) as caught:
        plane.call("models.create", project="shop", name=name)
    assert caught.value.own_code == "MODEL_NAME_INVALID"


def test_one_name_in_two_spellings_is_one_model(plane: Plane) -> None:
    register(plane, name="e\u0301quipe")
    assert register(plane, name="\u00e9quipe").number == 2


@pytest.mark.parametrize("wrong", ["7", "v7", "latest", "a b", "", "-x", "a/b"])
def test_an_alias_cannot_be_taken_for_a_number(plane: Plane, wrong: str) -> None:
    register(plane)
    with pytest.raises(Invalid) as caught:
        alias(plane, "churn", wrong, 1)
    assert caught.value.own_code == "MODEL_ALIAS_INVALID"


def test_files_that_were_not_sent_are_named(plane: Plane) -> None:
    with pytest.raises(Invalid) as caught:
        plane.call(
            "models.register", project="shop", name="churn", files=[{"path": "m", "digest": "0" * 64, "size": 1}]
        )
    assert (caught.value.own_code, caught.value.fields["digests"]) == ("BLOBS_MISSING", ["0" * 64])
    file = put(plane, "abc") | {"size": 4}
    with pytest.raises(Invalid) as caught:
        plane.call("models.register", project="shop", name="churn", files=[file])
    assert (caught.value.own_code, caught.value.fields["path"]) == ("FILE_INVALID", "model.onnx")
    with pytest.raises(Invalid) as caught:
        plane.call("models.register", project="shop", name="churn")
    assert caught.value.own_code == "MODEL_EMPTY"


def test_a_branch_moves_its_own_aliases_and_numbers_are_given_once(plane: Plane) -> None:
    register(plane, aliases=["champion"])
    branch(plane, "work")
    assert register(plane, content="two", environment="work", aliases=["champion"]).number == 2
    assert register(plane, content="three").number == 3
    assert (resolve(plane, "churn@champion").number, resolve(plane, "churn@champion", "work").number) == (1, 2)
    assert [each.number for each in plane.call("models.versions", project="shop", name="churn")] == [3, 1]
    with pytest.raises(NotFound) as caught:
        resolve(plane, "churn/2")
    assert caught.value.own_code == "MODEL_VERSION_NOT_FOUND"


def test_a_merge_brings_versions_and_aliases_and_says_which_moved(plane: Plane) -> None:
    register(plane, aliases=["champion"])
    branch(plane, "work")
    register(plane, content="two", environment="work", aliases=["champion"])
    plane.call("environments.merge", project="shop", branch="work")
    assert resolve(plane, "churn@champion").number == 2
    moved = events(plane, "model.alias_set")[-1].data
    assert (moved["environment"], moved["alias"], moved["version"], moved["before"]) == ("main", "champion", 2, 1)


def test_an_alias_that_both_sides_moved_is_a_conflict_that_says_how(plane: Plane) -> None:
    for content in ("one", "two", "three"):
        register(plane, content=content)
    alias(plane, "churn", "champion", 1)
    branch(plane, "work")
    alias(plane, "churn", "champion", 2)
    alias(plane, "churn", "champion", 3, "work")
    with pytest.raises(Conflict) as caught:
        plane.call("environments.merge", project="shop", branch="work")
    found = caught.value.fields["conflicts"][0]
    assert found["id"] == "model:churn/aliases/champion"
    assert ("1 -> 2" in found["ours"], "1 -> 3" in found["theirs"]) == (True, True)
    plane.call("environments.merge", project="shop", branch="work", per_key={found["id"]: "theirs"})
    assert resolve(plane, "churn@champion").number == 3


def test_tags_merge_one_by_one(plane: Plane) -> None:
    register(plane, tags={"a": "1", "b": "1"})
    branch(plane, "work")
    work = {"project": "shop", "model": "churn/1", "environment": "work"}
    plane.call("models.tag", project="shop", model="churn/1", tags={"a": "2"})
    plane.call("models.tag", **work, tags={"c": "3"}, remove=["b"])
    plane.call("environments.merge", project="shop", branch="work")
    assert resolve(plane, "churn/1").tags == {"a": "2", "c": "3"}
    plane.call("models.tag", project="shop", model="churn/1", tags={"a": "ours"})
    plane.call("models.tag", **work, tags={"a": "theirs"})
    with pytest.raises(Conflict) as caught:
        plane.call("environments.merge", project="shop", branch="work")
    assert caught.value.fields["conflicts"][0]["id"] == "model:churn/versions/1#tags.a"
    assert plane.call("models.tag", project="shop", model="churn", description="who leaves") is True
    assert plane.call("models.tag", project="shop", model="churn", description="who leaves") is False


def test_a_protected_environment_asks_for_an_approver(plane: Plane) -> None:
    register(plane)
    plane.call("environments.protect", project="shop", branch="main")
    for operation, fields in (
        ("models.alias", {"name": "churn", "alias": "champion", "version": 1}),
        ("models.register", {"name": "churn", "files": [put(plane, "one")]}),
        ("models.delete", {"model": "churn/1"}),
    ):
        with pytest.raises(Forbidden):
            plane.bough.operations.call(operation, {"project": "shop", **fields}, DEVELOPER)


def test_a_rename_keeps_versions_numbers_and_aliases(plane: Plane) -> None:
    first = register(plane, aliases=["champion"])
    register(plane, content="two")
    plane.call("models.rename", project="shop", name="churn", to="team/leavers")
    assert resolve(plane, "team/leavers@champion").id == first.id
    assert register(plane, name="team/leavers", content="three").number == 3
    with pytest.raises(NotFound):
        plane.call("models.show", project="shop", name="churn")
    assert register(plane).number == 3  # of the old name, whose numbers are not given again
    with pytest.raises(Conflict) as caught:
        plane.call("models.rename", project="shop", name="team/leavers", to="churn")
    assert caught.value.own_code == "MODEL_EXISTS"


def test_a_deleted_version_is_gone_here_and_stays_elsewhere(plane: Plane) -> None:
    register(plane, aliases=["champion"])
    branch(plane, "work")
    with pytest.raises(Conflict) as caught:
        plane.call("models.delete", project="shop", model="churn/1")
    assert caught.value.own_code == "MODEL_VERSION_IN_USE"
    plane.call("models.delete", project="shop", model="churn")
    with pytest.raises(NotFound):
        resolve(plane, "churn/1")
    assert resolve(plane, "churn@champion", "work").number == 1
    assert register(plane).number == 2


def test_garbage_collection_keeps_the_files_of_every_version_that_can_be_named(plane: Plane) -> None:
    kept, gone = register(plane, content="kept"), register(plane, content="gone")
    plane.call("models.delete", project="shop", model="churn/2")
    blobs, file = plane.bough.blobs, [blobs_digest("kept"), blobs_digest("gone")]
    assert blobs.has(file[1])
    collector = Collector(plane.bough.database, blobs, SystemClock(), REFERENCES, Path(os.devnull))
    for _ in range(2):  # the first drops what was history, the second what only that had named
        collector.run(grace_s=-10.0, retention_s=0.0)
    assert blobs.has(file[0]) and blobs.has(kept.digest)
    assert not blobs.has(file[1]) and not blobs.has(gone.digest)


def test_search_finds_by_words_metrics_tags_and_inputs(plane: Plane) -> None:
    facts = {"metrics": {"auc": 0.7}, "inputs": [{"kind": "dataset", "name": "calls"}], "run": "run_1"}
    register(plane, tags={"team": "risk"}, facts=facts, card="Who *leaves* us")
    register(plane, content="two", facts={"metrics": {"auc": 0.9}}, aliases=["champion"])
    register(plane, name="price", content="three", tags={"team": "price"})

    def found(query: str, **fields: Any) -> list[str]:
        page = plane.call("models.search", project="shop", query=query, **fields)
        return [each.reference for each in page.versions]

    assert found("") == ["churn/2", "churn/1", "price/1"]
    assert found("leaves") == ["churn/1"]
    assert found("metric.auc>=0.8") == ["churn/2"]
    assert found("metric.auc<0.8 tag.team=risk") == ["churn/1"]
    assert found("alias=champion") == ["churn/2"]
    assert found("input=calls run=run_1") == ["churn/1"]
    assert found("name~PR*") == ["price/1"]
    assert found("signed=yes") == []
    first = plane.call("models.search", project="shop", query="", limit=2)
    assert (len(first.versions), first.more) == (2, "churn/1")
    assert found("", after=first.more) == ["price/1"]
    with pytest.raises(Invalid) as caught:
        found("metric.auc>high")
    assert caught.value.own_code == "MODEL_QUERY_INVALID"


def test_a_search_by_facts_sees_what_its_environment_does_and_turns_pages(plane: Plane) -> None:
    key = "p$[99].x"
    for number in range(6):
        facts = {"metrics": {"auc": number / 10, key: 1.0}, "parameters": {"depth": str(number)}, "run": f"r{number}"}
        register(plane, content=str(number), facts=facts)
    branch(plane, "try")
    plane.call("models.rename", project="shop", name="churn", to="leaving", environment="try")
    plane.call("models.delete", project="shop", model="churn/5")
    register(plane, name="price", content="p", facts={"metrics": {"auc": 0.9}})

    def found(query: str, environment: str = "main") -> list[str]:
        more, seen = "", list[str]()
        while True:
            fields = {"project": "shop", "environment": environment, "query": query, "after": more}
            page = plane.call("models.search", limit=2, **fields)
            seen += [each.reference for each in page.versions]
            if not (more := page.more):
                return seen

    assert found("metric.auc>0.1") == ["churn/6", "churn/4", "churn/3", "price/1"]
    assert found("metric.auc>0.1", "try") == ["leaving/6", "leaving/5", "leaving/4", "leaving/3"]
    assert found(f"metric.{key}=1") == ["churn/6", "churn/4", "churn/3", "churn/2", "churn/1"]
    assert found("metric.auc>=0.1 parameter.depth!=2 metric.auc<0.4") == ["churn/4", "churn/2"]
    assert found("run=r1") == ["churn/2"] and found("run~r[12]") == ["churn/3", "churn/2"]
    assert found("metric.auc=7") == [] == found("parameter.none=1")


def test_stages_are_a_view_that_moves_nothing(plane: Plane) -> None:
    register(plane, aliases=["champion"])
    register(plane, content="two")
    plane.call("models.stage", project="shop", model="churn/1", stage="production")
    done = plane.call("models.stage", project="shop", model="churn/2", stage="Production", archive_others=True)
    assert (done.stage, resolve(plane, "churn@champion").stage) == ("Production", "Archived")
    with pytest.raises(Invalid) as caught:
        plane.call("models.stage", project="shop", model="churn/2", stage="Live")
    assert caught.value.own_code == "MODEL_STAGE_INVALID"


def test_ten_thousand_versions_cost_what_a_hundred_cost(plane: Plane) -> None:
    """What SQLite does is counted, in steps of its virtual machine, not seconds."""
    file, place = put(plane, "one"), {"project": "shop"}
    with plane.bough.database.write() as tx:
        _many(tx, "few", file, 100)
        _many(tx, "many", file, 10_000)
    for name in ("few", "many"):
        alias(plane, name, "champion", 60)
    counted = Counted()
    for operation, fields in (
        ("models.resolve", {"model": "{}@champion"}),
        ("models.resolve", {"model": "{}/99"}),
        ("models.show", {"name": "{}"}),
        ("models.versions", {"name": "{}", "limit": 50}),
        ("models.alias", {"name": "{}", "alias": "candidate", "version": 77}),
        ("models.register", {"name": "{}", "files": [file]}),
    ):
        few, many = (counted.of(plane, operation, **place, **_named(fields, name)) for name in ("few", "many"))
        assert few > 0
        assert many <= 1.5 * few + 10, f"{operation} {fields}: {few} steps of 100, then {many}"


class Counted:
    """Hundreds of steps of SQLite's machine, over all connections."""

    def __init__(self) -> None:
        self.steps = 0
        sa.event.listen(sa.engine.Engine, "begin", self._watch)

    def of(self, plane: Plane, operation: str, /, **fields: Any) -> int:
        self.steps = 0
        plane.call(operation, **fields)
        return self.steps

    def _watch(self, connection: sa.Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(self._step, 100)

    def _step(self) -> int:
        self.steps += 1
        return 0


def _named(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: each.format(name) if isinstance(each, str) else each for key, each in fields.items()}


def _many(tx: sa.Connection, name: str, file: dict[str, Any], count: int) -> None:
    """As `models.register` leaves it, `count` times, written in one go."""
    layer = catalog.layer_of(tx, "shop", "main")
    tx.execute(store.registered_model.insert().values(project="shop", name=name, last=count))
    rows = [
        {
            "id": f"ver_{name}_{n}", "project": "shop", "name": name, "number": n, "digest": file["digest"], "files": 1,
            "bytes": 3, "created_at": 0.0, "by": "t", "environment": "main", "run": "", "source": "", "details": "{}",
        }
        for n in range(1, count + 1)
    ]  # fmt: skip
    tx.execute(store.model_version.insert(), rows)
    model = {"created_at": 0.0, "updated_at": 0.0, "by": "t", "description": "", "tags": {}}
    writes = [Write(MODEL, name, model)]
    writes += [
        Write(MODEL, f"{name}/versions/{n}", {"id": f"ver_{name}_{n}", "digest": "d"}) for n in range(1, count + 1)
    ]
    catalog.commit(tx, layer, writes, at=0.0, by="t", why="many")
