"""Secrets of environments: versions, inheritance, who gets them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from bough.client.record import record
from bough.entrypoints.cli import secrets_set
from bough.entrypoints.cli.session import Session
from bough.environments import store as environments
from bough.kernel import catalog
from bough.kernel.catalog import LAST, SECRET, SERVICE, Point
from bough.kernel.context import Principal, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Problem, ProjectFileInvalid
from bough.kernel.points import RETENTION_S
from bough.secrets import store
from bough.secrets.vault import Vault
from tests.plane import ADMIN, Plane

FILE = """
name = "shop"
[services.api]
model = "service:Api"
env = { DATABASE_URL = "postgres://app:${secrets.db-password}@host/db", PLAIN = "$${x} ${HOME}" }
[services.web]
command = "python app.py"
env = { API = "${services.api.url}" }
"""
DAY = 86_400.0
DEVELOPER = Principal(id="pri_dev", name="dev", role=Role.DEVELOPER)


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path)


def put(plane: Plane, environment: str = "main", deploy: bool = True, **values: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return plane.call("secrets.set", project="shop", environment=environment, values=named, deploy=deploy)


def listed(plane: Plane, environment: str = "main") -> dict[str, Any]:
    return {each.name: each for each in plane.call("secrets.list", project="shop", environment=environment)}


def branch(plane: Plane, name: str, parent: str = "main", sealed: tuple[str, ...] = ()) -> None:
    with plane.bough.database.write() as tx:
        start = Point(catalog.layer_of(tx, "shop", parent), LAST)
        now = plane.clock.now()
        environments.add_environment(tx, ("shop", name), now, by="t", parent=parent, start=start, sealed=sealed)


def opened(plane: Plane, unit: Any) -> dict[str, str]:
    """What the node would put into the unit's environment."""
    vault = Vault(plane.bough.home.path, {})
    return {
        name: "".join(vault.open_text(part) if at % 2 else part for at, part in enumerate(parts))
        for name, parts in unit.secrets.items()
    }


def specs(plane: Plane, service: str, environment: str = "main") -> list[Any]:
    """What runs, as the engine was told."""
    running = {each.unit: each.attempt for each in plane.units() if each.state != "exited"}
    return [
        run.spec
        for unit, attempts in plane.engine._units.items()
        for number, run in attempts.items()
        if running.get(unit) == number
        and (run.spec.labels["service"], run.spec.labels["environment"]) == (service, environment)
    ]


def test_a_service_gets_the_value_inside_its_text_and_spec_and_database_never_hold_it(plane: Plane) -> None:
    put(plane, db_password="grüße-4711 \n'quoted'")
    made = plane.deploy(FILE)
    assert made.state == "live", made.failure
    (spec,) = specs(plane, "api")
    assert opened(plane, spec) == {"DATABASE_URL": "postgres://app:grüße-4711 \n'quoted'@host/db"}
    assert spec.environment["PLAIN"] == "${x} ${HOME}"
    assert "4711" not in msgspec.json.encode(spec).decode()
    plane.bough.database.close()
    for path in plane.bough.home.path.rglob("*"):
        assert path.is_dir() or b"4711" not in path.read_bytes(), path


def test_a_reference_to_a_service_is_its_address_in_the_same_environment(plane: Plane) -> None:
    put(plane, db_password="hunter22")
    plane.deploy(FILE)
    assert specs(plane, "web")[0].environment["API"] == "http://127.0.0.1:7400/v1/api.shop/predict"
    branch(plane, "dev")
    plane.deploy(FILE, environment="dev")
    assert specs(plane, "web", "dev")[0].environment["API"] == "http://127.0.0.1:7400/v1/api--dev.shop/predict"


def test_another_address_of_the_service_restarts_what_refers_to_it(plane: Plane) -> None:
    put(plane, db_password="hunter22")
    plane.deploy(FILE)
    before = specs(plane, "web")[0].unit
    plane.deploy(FILE.replace('model = "service:Api"', 'model = "service:Api"\napi = "v2"'))
    after = specs(plane, "web")[0]
    assert after.unit != before and "/v2/api.shop/" in after.environment["API"]


def test_setting_a_secret_makes_a_release_and_restarts_only_what_uses_it(plane: Plane) -> None:
    put(plane, db_password="first-value")
    plane.deploy(FILE)
    web, api = specs(plane, "web")[0].unit, specs(plane, "api")[0].unit
    answer = put(plane, db_password="second-value")
    assert (answer.services, answer.release) == (["api"], 2)
    plane.let_pass(3)
    (spec,) = specs(plane, "api")
    assert opened(plane, spec)["DATABASE_URL"] == "postgres://app:second-value@host/db"
    assert spec.unit != api and specs(plane, "web")[0].unit == web
    shown = plane.call("releases.show", project="shop", number=2).manifest.services["api"]
    assert shown.secrets == {"db-password": f"main@{listed(plane)['db-password'].version}"}


def test_without_deploy_the_running_version_stays_also_after_a_crash(plane: Plane) -> None:
    put(plane, db_password="first-value")
    plane.deploy(FILE)
    answer = put(plane, deploy=False, db_password="second-value")
    assert (answer.services, answer.release) == (["api"], 0)
    plane.engine.crash(specs(plane, "api")[0].unit)
    plane.let_pass(3)
    assert opened(plane, specs(plane, "api")[0])["DATABASE_URL"] == "postgres://app:first-value@host/db"
    assert plane.deploy(FILE).number == 2
    assert opened(plane, specs(plane, "api")[0])["DATABASE_URL"] == "postgres://app:second-value@host/db"


JOBS = """name = "shop"
[jobs.nightly]
command = "x"
env = { TOKEN = "${secrets.token}" }
[jobs.clicks]
command = "x"
source = { url = "s3://landing/clicks/", key = "k", secret = "${secrets.s3}" }
checkpoints = { url = "s3://training/clicks/", key = "k", secret = "${secrets.s3}" }
"""


def test_runs_of_jobs_have_the_new_value_from_then_on_and_setting_it_says_so(plane: Plane) -> None:
    put(plane, token="token-one", s3="s3-one")
    plane.deploy(JOBS)
    before = plane.call("jobs.run", project="shop", job="nightly")
    plane.let_pass(2)
    answer = put(plane, token="token-two")
    assert (answer.services, answer.release) == (["jobs.nightly"], 2)
    said = secrets_set._text(record(msgspec.to_builtins(answer)), True, False).splitlines()
    assert said[1:] == [
        "release 2 gives it to jobs.nightly",
        "runs of nightly that were asked for before keep the old one: bough jobs run nightly",
    ]
    plane.let_pass(3)
    assert plane.call("releases.show", project="shop", number=2).release.state == "live"
    after = plane.call("jobs.run", project="shop", job="nightly")
    plane.let_pass(2)
    given = {
        id: [opened(plane, run.spec)["TOKEN"] for run in plane.engine._units[f"{id}-0"].values()]
        for id in (before.id, after.id)
    }
    assert given == {before.id: ["token-one"], after.id: ["token-two"]}


def test_a_job_that_uses_a_secret_keeps_it_from_being_removed_and_looks_up_that_of_its_bucket(plane: Plane) -> None:
    put(plane, token="token-one", s3="s3-one")
    plane.deploy(JOBS)
    assert {name: each.services for name, each in listed(plane).items()} == {
        "token": ["jobs.nightly"], "s3": ["jobs.clicks.source", "jobs.clicks.checkpoints"],
    }  # fmt: skip
    answer = put(plane, s3="s3-two")
    assert answer.release == 0
    said = secrets_set._text(record(msgspec.to_builtins(answer)), True, False)
    assert said.endswith("\njobs.clicks.checkpoints, jobs.clicks.source: used from now on")
    answer = put(plane, deploy=False, token="token-two")
    said = secrets_set._text(record(msgspec.to_builtins(answer)), False, False)
    assert said.endswith("\njobs.nightly will get it with the next release: bough deploy")
    with pytest.raises(Conflict, match=r"jobs.nightly of shop/main uses the secret token"):
        plane.call("secrets.remove", project="shop", name="token")


def test_a_rollback_restores_the_version_and_a_later_set_of_another_secret_leaves_it(plane: Plane) -> None:
    both = FILE.replace('PLAIN = "$${x} ${HOME}"', 'TOKEN = "${secrets.token}"')
    put(plane, db_password="first-value", token="token-one")
    plane.deploy(both)
    put(plane, db_password="second-value")
    plane.let_pass(3)
    plane.call("releases.rollback", project="shop")
    plane.let_pass(3)
    old = "postgres://app:first-value@host/db"
    assert opened(plane, specs(plane, "api")[0])["DATABASE_URL"] == old
    put(plane, token="token-two")
    plane.let_pass(3)
    assert opened(plane, specs(plane, "api")[0]) == {"DATABASE_URL": old, "TOKEN": "token-two"}


def test_a_rollback_reaches_back_before_a_merge_also_when_garbage_was_collected(plane: Plane) -> None:
    put(plane, db_password="of-production", token="token-one")
    plane.deploy(FILE)
    plane.call("environments.create", project="shop", branch="dev")
    for value in ("first-of-dev", "second-of-dev"):
        put(plane, "dev", db_password=value)
        plane.let_pass(3)
    number = next(
        each.number
        for each in plane.call("releases.list", project="shop", environment="dev")
        if plane.call("releases.show", project="shop", environment="dev", number=each.number)
        .manifest.services["api"].secrets["db-password"].startswith("dev@")
    ) - 1  # fmt: skip
    for _ in range(2):  # twice: what was kept once must not go the next time
        plane.call("environments.reset", project="shop", branch="dev")
        plane.clock.advance(RETENTION_S + DAY)
        put(plane, token="token-two")
        collected = plane.call("gc.run")
        assert collected.entries + collected.layers
        plane.call("releases.rollback", project="shop", environment="dev", to=number)
        plane.let_pass(3)
        assert opened(plane, specs(plane, "api", "dev")[0])["DATABASE_URL"] == "postgres://app:first-of-dev@host/db"
    with plane.bough.database.read() as tx:
        assert [each.key for each in catalog.items(tx, Point(catalog.layer_of(tx, "shop", "dev")), SECRET)] == [
            "db-password", "token",
        ]  # fmt: skip
    plane.call("environments.discard", project="shop", branch="dev")
    plane.clock.advance(RETENTION_S + DAY)
    assert plane.call("gc.run").layers
    assert plane.call("audit.list")[0].operation == "gc.run"
    with plane.bough.database.read() as tx:
        kept = tx.execute(sa.select(catalog.entry.c.value).where(catalog.entry.c.kind == SECRET)).scalars()
        assert not any('"environment":"dev"' in each for each in kept if each)


def test_a_sealed_branch_cannot_reach_a_version_by_its_number(plane: Plane) -> None:
    put(plane, db_password="of-production")
    plane.deploy(FILE)
    pin = plane.call("releases.show", project="shop", number=1).manifest.services["api"].secrets["db-password"]
    plane.call("environments.create", project="shop", branch="dev", sealed=True)
    plane.call("environments.create", project="shop", branch="below", source="dev")
    with plane.bough.database.read() as tx:
        for name in ("dev", "below"):
            with pytest.raises(NotFound) as refused:
                store.sealed(tx, ("shop", name), "db-password", pin)
            assert refused.value.own_code == "SECRET_VERSION_GONE"


def test_the_same_deploy_again_is_the_same_release(plane: Plane) -> None:
    put(plane, db_password="hunter22")
    assert plane.deploy(FILE).number == plane.deploy(FILE).number == 1


def test_a_branch_inherits_overrides_and_never_sees_what_came_later(plane: Plane) -> None:
    put(plane, db_password="of-production", token="token-one")
    branch(plane, "dev")
    put(plane, db_password="changed-later")
    seen = listed(plane, "dev")
    assert {name: each.source for name, each in seen.items()} == {"db-password": "inherited", "token": "inherited"}
    plane.deploy(FILE, environment="dev")
    assert opened(plane, specs(plane, "api", "dev")[0])["DATABASE_URL"] == "postgres://app:of-production@host/db"
    put(plane, "dev", db_password="of-the-branch")
    plane.let_pass(3)
    assert opened(plane, specs(plane, "api", "dev")[0])["DATABASE_URL"] == "postgres://app:of-the-branch@host/db"
    assert (listed(plane, "dev")["db-password"].source, listed(plane)["db-password"].environment) == ("own", "main")
    assert [each.environment for each in plane.call(
        "secrets.history", project="shop", environment="dev", name="db-password"
    )] == ["dev", "main"]  # fmt: skip


def test_a_branch_runs_what_it_inherits_with_its_own_value(plane: Plane) -> None:
    put(plane, db_password="of-production")
    plane.deploy(FILE)
    plane.call("environments.create", project="shop", branch="dev")
    answer = put(plane, "dev", db_password="of-the-branch")
    assert answer.services == ["api"] and answer.release
    plane.let_pass(3)
    live = plane.call("environments.status", project="shop", environment="dev").release
    shown = plane.call("releases.show", project="shop", environment="dev", number=answer.release)
    assert shown.manifest.services["api"].secrets["db-password"].startswith("dev@") and live == answer.release


def test_a_merge_brings_the_service_and_not_what_it_was_given(plane: Plane) -> None:
    put(plane, db_password="of-production")
    plane.deploy(FILE)
    production = listed(plane)["db-password"].version
    plane.call("environments.create", project="shop", branch="dev")
    put(plane, "dev", db_password="of-the-branch")
    plane.let_pass(3)
    plane.deploy(FILE.replace("PLAIN", "OTHER"), environment="dev")
    made = plane.call("environments.merge", project="shop", branch="dev").release
    merged = plane.call("releases.show", project="shop", number=made.number).manifest.services["api"]
    assert merged.secrets == {"db-password": f"main@{production}"} and "OTHER" in merged.settings.env
    plane.let_pass(3)
    assert opened(plane, specs(plane, "api")[0])["DATABASE_URL"] == "postgres://app:of-production@host/db"


def test_a_new_version_in_production_is_no_conflict_and_an_override_alone_is_no_change(plane: Plane) -> None:
    put(plane, db_password="of-production", token="token-one")
    plane.deploy(FILE)
    plane.call("environments.create", project="shop", branch="dev")
    plane.call("environments.create", project="shop", branch="same")
    put(plane, "same", db_password="of-the-branch")
    plane.let_pass(3)
    assert plane.call("environments.merge", project="shop", branch="same").release is None
    plane.deploy(FILE.replace("PLAIN", "OTHER"), environment="dev")
    put(plane, db_password="changed-later")
    plane.let_pass(3)
    newest = listed(plane)["db-password"].version
    made = plane.call("environments.merge", project="shop", branch="dev").release
    merged = plane.call("releases.show", project="shop", number=made.number).manifest.services["api"]
    assert merged.secrets == {"db-password": f"main@{newest}"} and "OTHER" in merged.settings.env


def test_different_settings_of_one_service_still_conflict(plane: Plane) -> None:
    put(plane, db_password="of-production")
    plane.deploy(FILE)
    plane.call("environments.create", project="shop", branch="dev")
    plane.deploy(FILE.replace("PLAIN", "OTHER"), environment="dev")
    plane.deploy(FILE.replace("PLAIN", "THIRD"))
    merge = {"project": "shop", "branch": "dev"}
    with pytest.raises(Conflict, match="service:api"):
        plane.call("environments.merge", **merge)
    made = plane.call("environments.merge", **merge, theirs=True).release
    shown = plane.call("releases.show", project="shop", number=made.number).manifest
    assert "OTHER" in shown.services["api"].settings.env


def test_a_merge_is_refused_while_its_target_lacks_a_secret(plane: Plane) -> None:
    put(plane, db_password="of-production")
    plane.deploy(FILE)
    plane.call("environments.create", project="shop", branch="dev")
    put(plane, "dev", token="token-one")
    plane.deploy(FILE.replace("$${x} ${HOME}", "${secrets.token}"), environment="dev")
    with pytest.raises(NotFound, match="no secret 'token' in shop/main"):
        plane.call("environments.merge", project="shop", branch="dev")


def test_what_a_branch_inherits_it_runs_with_its_own_value(plane: Plane) -> None:
    """`pinned_here` is what a branch asks before it starts a service that its parent has released."""
    from bough.environments.models import ServiceManifest
    from bough.environments.references import pinned_here

    put(plane, db_password="of-production")
    plane.deploy(FILE)
    branch(plane, "dev")
    branch(plane, "plain")
    put(plane, "dev", db_password="of-the-branch")
    with plane.bough.database.read() as tx:
        entry = catalog.get(tx, Point(catalog.layer_of(tx, "shop", "dev"), LAST), SERVICE, "api")
        assert entry is not None
        released = msgspec.convert(entry.value, ServiceManifest)
        own, same = (pinned_here(tx, ("shop", name), released) for name in ("dev", "plain"))
    assert same == released and own.digest != released.digest
    assert own.secrets["db-password"].startswith("dev@")


def test_a_sealed_branch_sees_only_its_own_also_in_history(plane: Plane) -> None:
    put(plane, db_password="of-production")
    branch(plane, "dev", sealed=(SECRET,))
    branch(plane, "child", "dev")
    for name in ("dev", "child"):
        assert listed(plane, name) == {}
        with pytest.raises(NotFound, match="no secret"):
            plane.call("secrets.history", project="shop", environment=name, name="db-password")
    with pytest.raises(ProjectFileInvalid, match=r"bough.toml:5: services.api.env.DATABASE_URL: there is no secret"):
        plane.create(FILE, environment="dev")
    put(plane, "dev", db_password="of-the-branch")
    assert plane.deploy(FILE, environment="dev").state == "live"


def test_sealing_is_refused_while_inherited_secrets_are_in_use_and_unsealing_needs_an_approver(plane: Plane) -> None:
    put(plane, db_password="of-production", token="token-one")
    branch(plane, "dev")
    plane.deploy(FILE, environment="dev")
    where = {"project": "shop", "environment": "dev"}
    with pytest.raises(Conflict, match="db-password"):
        plane.call("secrets.seal", **where)
    put(plane, "dev", db_password="of-the-branch")
    plane.let_pass(3)
    assert [each.name for each in plane.call("secrets.seal", **where).secrets] == ["db-password"]
    with pytest.raises(Forbidden):
        plane.bough.operations.call("secrets.unseal", where, DEVELOPER)
    assert len(plane.call("secrets.unseal", **where).secrets) == 2


def test_what_is_in_use_is_not_removed_and_what_was_removed_has_a_history(plane: Plane) -> None:
    put(plane, db_password="hunter22", token="token-one")
    plane.deploy(FILE)
    with pytest.raises(Conflict, match="api"):
        plane.call("secrets.remove", project="shop", name="db-password")
    plane.call("secrets.remove", project="shop", name="token")
    assert list(listed(plane)) == ["db-password"]
    history = plane.call("secrets.history", project="shop", name="token")
    assert [each.removed for each in history] == [True, False]


def test_a_value_that_is_given_as_an_argument_is_refused_with_the_ways_that_there_are() -> None:
    for word in ("db-password=@key.pem", "db-password=hunter22"):
        with pytest.raises(Invalid) as refused:
            secrets_set._values(Session(), word, None, None)
        assert "bough secrets set db-password --file PATH" in refused.value.hint
        assert word.partition("=")[2] not in refused.value.message + refused.value.hint, "it may be the value"


def test_unknown_references_are_refused_with_file_line_and_key_before_anything_changes(plane: Plane) -> None:
    put(plane, db_password="hunter22")
    for wrong, said in (
        ("${secrets.db-pasword}", "did you mean 'db-password'"),
        ("${secret.db-password}", "refers to nothing"),
        ("${services.apo.url}", "there is no service 'apo'"),
        ("${secrets.}", "refers to nothing"),
    ):
        with pytest.raises(ProjectFileInvalid, match=said) as refused:
            plane.create(FILE.replace("${secrets.db-password}", wrong))
        assert refused.value.message.startswith("bough.toml:5: services.api.env.DATABASE_URL: ")
    with pytest.raises(ProjectFileInvalid, match="everyone who lists processes"):
        plane.create(FILE.replace("python app.py", "python app.py ${secrets.db-password}"))
    with pytest.raises(ProjectFileInvalid, match=r"bough.toml:\d+: environments.main.services.api.env.B: there is no"):
        plane.create(FILE + '[environments.main.services.api]\nenv = { B = "${secrets.b}" }\n')
    assert plane.call("releases.list", project="shop") == []


QUEUE = """
name = "shop"
[services.api]
model = "service:Api"
[queues.letters]
handler = "api"
webhook = "https://example.com/hook"
webhook_secret = "${secrets.hook}"
poll = { url = "https://example.com/${secrets.path}?after={after}" }
sink = { url = "sqlite:///out.db", statement = "INSERT INTO t VALUES ('${secrets.nobody}')" }
"""


def test_a_queue_is_a_user_of_secrets_without_a_release(plane: Plane) -> None:
    for secret, key in (("hook", "webhook_secret"), ("path", "poll.url")):
        with pytest.raises(
            ProjectFileInvalid, match=rf"queues.letters.{key}: there is no secret '{secret}'"
        ) as refused:
            plane.create(QUEUE)
        assert refused.value.hint == f"bough secrets set {secret}"
        put(plane, **{secret: "whsec_1"})
    plane.deploy(QUEUE)
    answer = put(plane, hook="whsec_2")
    assert (answer.services, answer.release) == (["queues.letters"], 0)
    said = secrets_set._text(record(msgspec.to_builtins(answer)), True, False)
    assert said.endswith("\nqueues.letters: used from now on")
    with pytest.raises(Conflict, match=r"queues.letters of shop/main uses the secret hook"):
        plane.call("secrets.remove", project="shop", name="hook")


def test_a_branch_whose_schedules_rest_needs_no_secret_for_its_queues(plane: Plane) -> None:
    put(plane, hook="whsec_1", path="p")
    plane.deploy(QUEUE)
    branch(plane, "try", sealed=("secret",))
    with plane.bough.database.write() as tx:
        environments.change_environment(tx, ("shop", "try"), paused=True)
    assert plane.deploy(QUEUE, content="two", environment="try").state == "live"
    assert listed(plane, "try") == {}


def test_only_production_is_made_by_setting_a_secret(plane: Plane) -> None:
    with pytest.raises(NotFound, match="staging"):
        put(plane, "staging", a="value-a")
    assert put(plane, a="value-a").environment == "main"
    with pytest.raises(NotFound, match="staging"):
        put(plane, "staging", a="value-a")


def test_a_protected_environment_takes_secrets_from_approvers_only(plane: Plane) -> None:
    put(plane, a="value-a")
    with plane.bough.database.write() as tx:
        catalog.protect(tx, "shop", "main", True)
    with pytest.raises(Forbidden, match="protected"):
        plane.bough.operations.call("secrets.set", {"project": "shop", "values": {"a": "b"}}, DEVELOPER)


@pytest.mark.parametrize("value", ["", "a\0b", "x" * (64 << 10) + "x", "\ud800"])
def test_values_that_no_variable_can_hold_are_refused_without_being_repeated(plane: Plane, value: str) -> None:
    with pytest.raises(Invalid) as refused:
        put(plane, a=value)
    assert not value or value not in str(refused.value.detail())


@pytest.mark.parametrize("name", ["", "1a", "a.b", "a/b", "a b", "-a", "é", "x" * 65, "a\n"])
def test_names_are_what_a_reference_can_say(plane: Plane, name: str) -> None:
    with pytest.raises(Invalid, match="letter") as refused:
        plane.call("secrets.set", project="shop", values={name: "value-a"})
    assert len(name) < 3 or name not in refused.value.message


def test_large_and_unicode_values_come_back_whole(plane: Plane) -> None:
    values = {"large": "ß" * (32 << 10), "unicode": "\U0001f333 e\u0301 \u202e", "lines": "-----BEGIN\na\r\nb\n"}
    plane.call("secrets.set", project="shop", values=values)
    env = ", ".join(f'{name.upper()} = "${{secrets.{name}}}"' for name in values)
    plane.deploy(f'name = "shop"\n[services.api]\nmodel = "service:Api"\nenv = {{ {env} }}\n')
    assert opened(plane, specs(plane, "api")[0]) == {name.upper(): value for name, value in values.items()}


def test_a_clock_that_goes_backwards_changes_no_order(plane: Plane) -> None:
    put(plane, a="first-value")
    first = listed(plane)["a"].version
    plane.clock.advance(-3600)
    put(plane, a="second-value")
    history = plane.call("secrets.history", project="shop", name="a")
    assert [each.version for each in history] == [listed(plane)["a"].version, first]
    assert history[0].version > first


def test_a_repeated_key_sets_once_and_another_value_under_it_is_refused(plane: Plane) -> None:
    operations, request = plane.bough.operations, {"project": "shop", "values": {"a": "first-value"}}
    first = operations.call("secrets.set", request, ADMIN, key="k1")
    assert operations.call("secrets.set", request, ADMIN, key="k1") == first
    with pytest.raises(Conflict, match="another request"):
        operations.call("secrets.set", {"project": "shop", "values": {"a": "other-value"}}, ADMIN, key="k1")
    assert len(plane.call("secrets.history", project="shop", name="a")) == 1


def test_the_audit_says_who_and_where_and_has_no_digest_to_try_values_against(plane: Plane) -> None:
    put(plane, a="1234")
    with pytest.raises(Problem):
        put(plane, a="")
    entries = [each for each in plane.call("audit.list") if each.operation == "secrets.set"]
    assert [(each.subject, each.outcome) for each in entries] == [("shop/main", "SECRET_EMPTY"), ("shop/main", "ok")]
    assert {each.request_digest for each in entries} == {""}


def test_the_plan_names_versions(plane: Plane) -> None:
    put(plane, db_password="first-value")
    plane.deploy(FILE)
    old = listed(plane)["db-password"].version
    put(plane, deploy=False, db_password="second-value")
    plan = plane.call("releases.plan", file=FILE, bundles={".": "a" * 64})
    change = next(each for each in plan.changes if each.name == "api")
    assert change.keys == {"secrets.db-password": [f"main@{old}", f"main@{listed(plane)['db-password'].version}"]}
    assert change.restarts
