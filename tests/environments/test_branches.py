"""Environments that branch, differ, merge, go back and go away, on a control plane with a fake engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bough.environments import store
from bough.kernel import catalog
from bough.kernel.catalog import FILE, SECRET, TABLE, Point, Write
from bough.kernel.context import Principal, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from tests.plane import Plane

ONE = 'name = "shop"\n[services.churn]\nmodel = "service:Churn"\n'
TWO = ONE + '[services.api]\ncommand = "python app.py"\n'
DEVELOPER = Principal(id="pri_dev", name="dev", role=Role.DEVELOPER)


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    made = Plane(tmp_path)
    made.deploy(TWO)
    return made


def branch(plane: Plane, name: str = "dev", **fields: Any) -> Any:
    return plane.call("environments.create", project="shop", branch=name, **fields).environment


def put(plane: Plane, environment: str, key: str, value: Any, kind: str = FILE) -> None:
    with plane.bough.database.write() as tx:
        layer = catalog.layer_of(tx, "shop", environment)
        catalog.commit(tx, layer, [Write(kind, key, value)], at=plane.clock.now(), by="ada", why="a test")


def seen(plane: Plane, environment: str, key: str, kind: str = FILE) -> Any:
    with plane.bough.database.read() as tx:
        found = catalog.get(tx, Point(catalog.layer_of(tx, "shop", environment)), kind, key)
    return found and found.value


def manifest(plane: Plane, environment: str) -> Any:
    with plane.bough.database.read() as tx:
        return store.live(tx, ("shop", environment))


def test_a_branch_has_its_parents_services_bundle_by_bundle_and_starts_none(plane: Plane) -> None:
    before = plane.running()
    made = branch(plane)
    assert (made.parent, made.branch, made.release, made.created_by) == ("main", "dev", 1, "admin")
    assert manifest(plane, "dev")[1] == manifest(plane, "main")[1]
    plane.let_pass(2)
    assert plane.running() == before
    assert len(plane.built) == 2


def test_branching_again_gives_the_environment_that_is_there(plane: Plane) -> None:
    first = plane.call("environments.create", project="shop", branch="feature/x")
    again = plane.call("environments.create", project="shop", branch="feature/x")
    assert (first.created, again.created) == (True, False)
    assert first.environment == again.environment


def test_a_branch_of_a_project_that_was_never_deployed_is_refused_and_production_can_be_made(plane: Plane) -> None:
    with pytest.raises(NotFound) as refused:
        plane.call("environments.create", project="new", branch="dev")
    assert refused.value.own_code == "POINT_NOT_FOUND"
    assert plane.call("environments.create", project="new", branch="main").environment.name == "main"
    assert plane.call("environments.create", project="new", branch="dev").environment.release == 0


def test_a_branch_begins_at_a_tag_or_a_time(plane: Plane) -> None:
    put(plane, "main", "a", 1)
    with plane.bough.database.write() as tx:
        catalog.set_tag(tx, "shop", "v1", "main", plane.clock.now(), "ada")
    plane.clock.advance(3600)
    put(plane, "main", "a", 2)
    plane.deploy(ONE)
    branch(plane, "tagged", source="v1")
    branch(plane, "timed", source="main@30m ago")
    for name in ("tagged", "timed"):
        assert seen(plane, name, "a") == 1
        assert set(manifest(plane, name)[1].services) == {"churn", "api"}
    assert set(manifest(plane, "main")[1].services) == {"churn"}


def test_what_a_branch_deploys_is_its_own_and_the_rest_it_inherits(plane: Plane) -> None:
    branch(plane)
    plane.deploy(TWO.replace("python app.py", "python app.py --new"), environment="dev")
    found = plane.call("environments.diff", project="shop", branch="dev")
    assert found.counts == {"service": {"change": 1}}
    assert found.changes[0].name == "api"
    assert found.changes[0].fields["settings.command"] == ["python app.py", "python app.py --new"]
    assert manifest(plane, "main")[1].services["api"].settings.command == "python app.py"


def test_a_first_deploy_to_an_environment_branches_it_from_production(plane: Plane) -> None:
    put(plane, "main", "a", 1)
    plane.deploy(ONE, environment="staging")
    assert seen(plane, "staging", "a") == 1
    assert plane.call("environments.show", project="shop", branch="staging").environment.parent == "main"


def test_a_merge_brings_services_and_data_and_builds_nothing(plane: Plane) -> None:
    put(plane, "main", "a", 1)
    branch(plane)
    put(plane, "dev", "a", 2)
    plane.deploy(TWO, content="new code", environment="dev")
    built = len(plane.built)
    digests = {name: each.digest for name, each in manifest(plane, "dev")[1].services.items()}
    merged = plane.call("environments.merge", project="shop", branch="dev")
    assert (merged.into, merged.fast_forward, merged.merged) == ("main", True, {"file": 1, "service": 2})
    plane.let_pass(3)
    assert plane.release(merged.release).state == "live"
    assert {name: each.digest for name, each in manifest(plane, "main")[1].services.items()} == digests
    assert seen(plane, "main", "a") == 2
    assert len(plane.built) == built
    assert plane.call("environments.diff", project="shop", branch="dev").counts == {}


def test_a_merge_with_a_conflict_writes_nothing_and_says_what_each_side_did(plane: Plane) -> None:
    put(plane, "main", "a", {"size": 1})
    branch(plane)
    put(plane, "dev", "a", {"size": 2})
    put(plane, "dev", "b", {"size": 2})
    put(plane, "main", "a", {"size": 3})
    with pytest.raises(Conflict) as refused:
        plane.call("environments.merge", project="shop", branch="dev")
    assert refused.value.own_code == "MERGE_CONFLICT"
    assert refused.value.fields["conflicts"] == [
        {"id": "file:a", "ours": "changed it (size 1 -> 3)", "theirs": "changed it (size 1 -> 2)"}
    ]
    assert seen(plane, "main", "b") is None
    tried = plane.call("environments.merge", project="shop", branch="dev", dry_run=True)
    assert (len(tried.conflicts), tried.merged, tried.dry_run) == (1, {"file": 1}, True)
    plane.call("environments.merge", project="shop", branch="dev", per_key={"file:a": "theirs"})
    assert (seen(plane, "main", "a"), seen(plane, "main", "b")) == ({"size": 2}, {"size": 2})


def test_a_file_where_the_other_side_has_a_folder_is_refused_and_nothing_is_merged(plane: Plane) -> None:
    put(plane, "main", "d/x", {"digest": "0" * 64, "size": 1})
    branch(plane)
    put(plane, "dev", "d/a", {"digest": "1" * 64, "size": 1})
    put(plane, "dev", "d/fine", {"digest": "1" * 64, "size": 1})
    put(plane, "main", "d/a/b", {"digest": "2" * 64, "size": 1})
    with pytest.raises(Conflict) as refused:
        plane.call("environments.merge", project="shop", branch="dev")
    assert refused.value.own_code == "MERGE_PATH_CLASH"
    assert refused.value.fields["paths"] == [["d/a/b", "d/a"]]
    assert seen(plane, "main", "d/fine") is None
    put(plane, "dev", "d/a", None)
    assert plane.call("environments.merge", project="shop", branch="dev").merged == {"file": 1}


def test_a_branch_goes_on_after_its_merge_and_merges_again(plane: Plane) -> None:
    branch(plane)
    for number in range(3):
        put(plane, "dev", "a", number)
        put(plane, "main", "b", number)
        merged = plane.call("environments.merge", project="shop", branch="dev")
        assert merged.conflicts == []
        assert (seen(plane, "dev", "b"), seen(plane, "main", "a")) == (number, number)


def test_how_long_changes_took_from_a_branch_to_production_is_known(plane: Plane) -> None:
    put(plane, "main", "a", 1)
    assert plane.call("environments.merges", project="shop").merges == []
    branch(plane)
    for value, seconds in ((2, 40.0), (3, 10.0)):
        plane.clock.advance(seconds)
        put(plane, "dev", "a", value)
        plane.call("environments.merge", project="shop", branch="dev")
    plane.call("environments.discard", project="shop", branch="dev")
    plane.clock.advance(100.0)
    branch(plane)
    plane.clock.advance(30.0)
    put(plane, "dev", "a", 4)
    plane.call("environments.merge", project="shop", branch="dev")
    found = plane.call("environments.merges", project="shop")
    assert [each.seconds for each in found.merges] == [30.0, 10.0, 40.0], "the second began with the first merge"
    assert {(each.environment, each.into) for each in found.merges} == {("dev", "main")}
    assert (found.median_s, found.slowest_s) == (30.0, 40.0)


def test_secrets_stay_behind_unless_they_are_asked_for(plane: Plane) -> None:
    plane.call("secrets.set", project="shop", values={"password": "one"})
    branch(plane)
    plane.call("secrets.set", project="shop", values={"password": "two"}, environment="dev")
    put(plane, "dev", "a", 1)
    mine, production = (seen(plane, name, "password", SECRET) for name in ("dev", "main"))
    assert mine != production
    plane.call("environments.merge", project="shop", branch="dev")
    assert seen(plane, "main", "password", SECRET) == production
    assert seen(plane, "dev", "password", SECRET) == mine
    plane.call("environments.merge", project="shop", branch="dev", with_secrets=True)
    assert seen(plane, "main", "password", SECRET) == mine


def test_a_sealed_branch_inherits_no_secret_also_after_a_reset(plane: Plane) -> None:
    put(plane, "main", "password", {"version": 1}, SECRET)
    branch(plane, sealed=True)
    assert seen(plane, "dev", "password", SECRET) is None
    plane.call("environments.reset", project="shop", branch="dev")
    assert seen(plane, "dev", "password", SECRET) is None


def test_the_diff_of_a_secret_shows_its_version_and_nothing_else(plane: Plane) -> None:
    put(plane, "main", "password", {"version": 1, "sealed": "aaa"}, SECRET)
    branch(plane)
    put(plane, "dev", "password", {"version": 2, "sealed": "bbb"}, SECRET)
    found = plane.call("environments.diff", project="shop", branch="dev")
    assert found.changes[0].fields == {"version": [1, 2]}


def test_a_reset_leaves_the_branch_as_its_parent_is_now(plane: Plane) -> None:
    branch(plane)
    put(plane, "dev", "mine", 1)
    plane.deploy(ONE, environment="dev")
    put(plane, "main", "theirs", 1)
    left = plane.call("environments.reset", project="shop", branch="dev")
    assert (seen(plane, "dev", "mine"), seen(plane, "dev", "theirs")) == (None, 1)
    plane.let_pass(3)
    assert set(manifest(plane, "dev")[1].services) == {"churn", "api"}
    assert left.merged["file"] == 2


def test_production_goes_back_to_a_tag(plane: Plane) -> None:
    put(plane, "main", "a", 1)
    with plane.bough.database.write() as tx:
        catalog.set_tag(tx, "shop", "good", "main", plane.clock.now(), "ada")
    put(plane, "main", "a", 2)
    plane.deploy(ONE)
    with pytest.raises(Conflict) as refused:
        plane.call("environments.reset", project="shop", branch="main")
    assert refused.value.own_code == "PARENT_MISSING"
    plane.call("environments.reset", project="shop", branch="main", to="good")
    plane.let_pass(3)
    assert seen(plane, "main", "a") == 1
    assert set(manifest(plane, "main")[1].services) == {"churn", "api"}


def test_a_discarded_branch_is_gone_and_its_name_is_free(plane: Plane) -> None:
    branch(plane)
    put(plane, "dev", "a", 1)
    plane.deploy(ONE, environment="dev")
    plane.call("environments.discard", project="shop", branch="dev")
    plane.let_pass(2)
    assert [route.environment for route in plane.routes() if route.environment == "dev"] == []
    with pytest.raises(NotFound):
        plane.call("environments.show", project="shop", branch="dev")
    branch(plane)
    assert seen(plane, "dev", "a") is None


def test_branches_of_a_discarded_branch_keep_what_they_saw_and_get_its_parent(plane: Plane) -> None:
    branch(plane)
    put(plane, "dev", "a", 1)
    branch(plane, "deeper", source="dev")
    plane.call("environments.discard", project="shop", branch="dev")
    assert seen(plane, "deeper", "a") == 1
    plane.call("environments.merge", project="shop", branch="deeper")
    assert seen(plane, "main", "a") == 1


def test_production_is_not_discarded(plane: Plane) -> None:
    with pytest.raises(Conflict) as refused:
        plane.call("environments.discard", project="shop", branch="main")
    assert refused.value.own_code == "PRODUCTION_STAYS"


def test_a_protected_environment_takes_deploys_merges_and_resets_from_approvers_only(plane: Plane) -> None:
    branch(plane)
    put(plane, "dev", "a", 1)
    plane.call("environments.protect", project="shop", branch="main")

    def as_developer(operation: str, **fields: Any) -> Any:
        return plane.bough.operations.call(operation, fields, DEVELOPER)

    live = manifest(plane, "main")[1]
    bundles = {".": live.services["churn"].bundle}
    for operation, fields in {
        "releases.create": {"file": ONE, "bundles": bundles},
        "releases.rollback": {"project": "shop"},
        "environments.merge": {"project": "shop", "branch": "dev"},
        "environments.reset": {"project": "shop", "branch": "main", "to": "1h ago"},
    }.items():
        with pytest.raises((Forbidden, Conflict)) as refused:
            as_developer(operation, **fields)
        assert refused.value.own_code in ("ENVIRONMENT_PROTECTED", "NOTHING_BEFORE")
    plane.call("environments.merge", project="shop", branch="dev")
    plane.call("environments.protect", project="shop", branch="main", off=True)
    assert as_developer("releases.create", file=ONE, bundles=bundles).state == "pending"


def test_a_branch_with_a_time_to_live_goes_away_when_nobody_deploys_to_it(plane: Plane) -> None:
    made = branch(plane, ttl="1h")
    assert made.expires_at == pytest.approx(plane.clock.now() + 3600)
    plane.clock.advance(3000)
    plane.deploy(ONE, environment="dev")
    plane.clock.advance(3000)
    plane.let_pass(1)
    assert plane.call("environments.show", project="shop", branch="dev").environment.name == "dev"
    plane.clock.advance(700)
    plane.let_pass(1)
    with pytest.raises(NotFound):
        plane.call("environments.show", project="shop", branch="dev")


def test_show_counts_what_both_sides_did_since_the_branch(plane: Plane) -> None:
    branch(plane)
    put(plane, "dev", "a", 1)
    put(plane, "main", "b", 1)
    put(plane, "main", "c", 1)
    found = plane.call("environments.show", project="shop", branch="dev")
    assert (found.ahead, found.behind, found.services) == ({"file": 1}, {"file": 2}, ["api", "churn"])
    assert plane.call("environments.show", project="shop", branch="main").children == ["dev"]


def test_show_says_how_many_bytes_are_a_branchs_own(plane: Plane) -> None:
    """Of blobs that it brought in: a file's, and the data files of a table that its parent's version does not have."""
    old, new, file = (plane.bough.blobs.put(b"x" * size) for size in (1000, 200, 30))
    put(plane, "main", "a", {"digest": old, "size": 1000})
    put(plane, "main", "t", {"files": [{"blob": old}]}, kind=TABLE)
    branch(plane)
    assert plane.call("environments.show", project="shop", branch="dev").own_bytes == 0
    put(plane, "dev", "b", {"digest": file, "size": 30})
    put(plane, "dev", "t", {"files": [{"blob": old}, {"blob": new}]}, kind=TABLE)
    put(plane, "main", "c", {"digest": old, "size": 1000})
    assert plane.call("environments.show", project="shop", branch="dev").own_bytes == 230
    usage = {each.environment: each for each in plane.call("data.usage", project="shop")}
    assert usage["dev"].exclusive_bytes == 230


def test_any_two_states_can_be_compared(plane: Plane) -> None:
    branch(plane, "one")
    branch(plane, "two")
    put(plane, "one", "a", 1)
    put(plane, "two", "b", 1)
    found = plane.call("environments.diff", project="shop", branch="one", against="two")
    assert [(each.name, each.action) for each in found.changes] == [("a", "add"), ("b", "remove")]


def test_environments_from_before_branches_get_a_layer_at_the_next_start(plane: Plane) -> None:
    with plane.bough.database.write() as tx:
        tx.execute(catalog.entry.delete())
        tx.execute(catalog.head.delete())
        store.give_heads(tx, plane.clock.now())
    branch(plane)
    assert set(manifest(plane, "dev")[1].services) == {"churn", "api"}


def test_ours_and_theirs_together_are_refused(plane: Plane) -> None:
    branch(plane)
    with pytest.raises(Invalid) as refused:
        plane.call("environments.merge", project="shop", branch="dev", ours=True, theirs=True)
    assert refused.value.own_code == "CHOICE_INVALID"


def test_twenty_branches_of_branches_see_what_the_first_one_had(plane: Plane) -> None:
    put(plane, "main", "a", 1)
    source = "main"
    for number in range(20):
        branch(plane, f"b{number}", source=source)
        source = f"b{number}"
    assert seen(plane, "b19", "a") == 1
    put(plane, "b19", "a", 2)
    assert (seen(plane, "b18", "a"), seen(plane, "main", "a")) == (1, 1)
