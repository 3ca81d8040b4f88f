"""Principals, tokens and keys."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bough.access import operations as access
from bough.access import rules, store
from bough.access.callers import REMEMBERED_S, Callers
from bough.access.models import KeyView, Opened
from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.clock import VirtualClock
from bough.kernel.context import Parts, Principal, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from bough.kernel.events import Events
from bough.kernel.operations import Operations

ADMIN = Principal(id="pri_admin", name="admin", role=Role.ADMIN)


class Shop:
    """A project with one service and one environment. Implements `Opened`."""

    def has_project(self, tx: sa.Connection, project: str) -> bool:
        return project == "shop"

    def not_there_yet(self, tx: sa.Connection, key: KeyView) -> list[str]:
        return sorted({*key.services} - {"churn"}) + sorted({*key.environments} - {"main"})


class Bench:
    def __init__(self, database: SqliteDatabase) -> None:
        self.clock, self.database = VirtualClock(), database
        self.token_file = database.path.with_name("token")
        self.bootstrap()
        self.callers = Callers(self.database.read, self.clock)
        self.database.on_commit(self.callers.forget)
        parts = Parts({Opened: Shop()})
        self.operations = Operations([access], self.database, Events(self.clock), self.clock, parts)

    def call(self, operation: str, who: Principal = ADMIN, /, **fields: object) -> Any:
        return self.operations.call(operation, fields, who)

    def authenticate(self, secret: str) -> Principal:
        return self.callers.authenticate(secret)

    def bootstrap(self) -> None:
        with self.database.write() as tx:
            access.bootstrap(tx, self.token_file, self.clock.now())


@pytest.fixture
def bench(database: SqliteDatabase) -> Bench:
    return Bench(database)


def person(bench: Bench, name: str, role: str) -> Principal:
    made = bench.call("principals.create", name=name, role=role)
    return Principal(id=made.id, name=name, role=Role[role.upper()])


def test_the_first_start_leaves_an_admin_token_that_only_its_owner_can_read(bench: Bench) -> None:
    secret = bench.token_file.read_text().strip()
    assert stat.S_IMODE(bench.token_file.stat().st_mode) == 0o600
    assert bench.authenticate(secret).role == Role.ADMIN


def test_starting_again_keeps_the_token_and_a_lost_file_is_replaced(bench: Bench) -> None:
    first = bench.token_file.read_text()
    bench.bootstrap()
    assert bench.token_file.read_text() == first
    bench.token_file.unlink()
    bench.bootstrap()
    assert bench.authenticate(bench.token_file.read_text().strip()).name == "admin"


def test_no_secret_is_kept_in_the_database(bench: Bench) -> None:
    token = bench.call("tokens.create")
    key = bench.call("keys.create", project="shop")
    bench.operations.call("keys.create", {"project": "shop"}, ADMIN, key="once")
    bench.database.close()
    kept = b"".join(path.read_bytes() for path in bench.token_file.parent.glob("bough.db*"))
    for secret in (token.secret, key.secret, bench.token_file.read_text().strip()):
        assert secret.encode() not in kept
        assert rules.digest(secret).encode() in kept


def test_a_repeated_key_does_not_show_the_secret_again(bench: Bench) -> None:
    bench.operations.call("keys.create", {"project": "shop"}, ADMIN, key="once")
    with pytest.raises(Conflict) as caught:
        bench.operations.call("keys.create", {"project": "shop"}, ADMIN, key="once")
    assert caught.value.own_code == "SECRET_SHOWN"
    assert len(bench.call("keys.list")) == 1


def test_a_token_ends_when_it_is_revoked_and_when_its_time_has_come(bench: Bench) -> None:
    revoked, expiring = bench.call("tokens.create"), bench.call("tokens.create", days=1)
    bench.call("tokens.revoke", id=revoked.id)
    with pytest.raises(Unauthenticated):
        bench.authenticate(revoked.secret)
    assert bench.authenticate(expiring.secret).name == "admin"
    bench.clock.advance(86_401)
    with pytest.raises(Unauthenticated):
        bench.authenticate(expiring.secret)


def test_roles_bound_what_a_principal_may_do(bench: Bench) -> None:
    viewer, developer = person(bench, "vera", "viewer"), person(bench, "dan", "developer")
    assert bench.call("principals.list", viewer)
    for name, fields in (("principals.create", {"name": "eve", "role": "admin"}), ("keys.create", {"project": "shop"})):
        with pytest.raises(Forbidden) as caught:
            bench.call(name, viewer, **fields)
        assert caught.value.own_code == "ROLE_MISSING"
    assert bench.call("keys.create", developer, project="shop")


def test_only_admins_make_end_or_see_the_tokens_of_others(bench: Bench) -> None:
    vera, dan = person(bench, "vera", "viewer"), person(bench, "dan", "developer")
    mine = bench.call("tokens.create", dan)
    with pytest.raises(Forbidden):
        bench.call("tokens.create", vera, principal="dan")
    with pytest.raises(Forbidden):
        bench.call("tokens.revoke", vera, id=mine.id)
    assert bench.call("tokens.list", vera) == []
    assert {each.principal for each in bench.call("tokens.list")} == {"admin", "dan"}


def test_the_last_admin_stays(bench: Bench) -> None:
    for name, fields in (("principals.remove", {}), ("principals.set_role", {"role": "viewer"})):
        with pytest.raises(Conflict) as caught:
            bench.call(name, **fields, name="admin")
        assert caught.value.own_code == "LAST_ADMIN"
    person(bench, "ann", "admin")
    assert bench.call("principals.set_role", name="admin", role="viewer").role == "viewer"


def test_removing_a_principal_ends_its_tokens(bench: Bench) -> None:
    dan = person(bench, "dan", "developer")
    secret = bench.call("tokens.create", dan).secret
    bench.call("principals.remove", name="dan")
    with pytest.raises(Unauthenticated):
        bench.authenticate(secret)


def test_a_revoked_key_leaves_the_table_for_the_gateway(bench: Bench) -> None:
    key = bench.call("keys.create", project="shop")
    with bench.database.read() as tx:
        assert store.key_hashes(tx) == {key.id: rules.digest(key.secret)}
    bench.call("keys.revoke", id=key.id)
    with bench.database.read() as tx:
        assert store.key_hashes(tx) == {}


@pytest.mark.parametrize(
    ("name", "fields", "error", "code"),
    [
        ("principals.create", {"name": "Bad Name", "role": "viewer"}, Invalid, "NAME_INVALID"),
        ("principals.create", {"name": "ok", "role": "king"}, Invalid, "ROLE_UNKNOWN"),
        ("principals.create", {"name": "admin", "role": "viewer"}, Conflict, "PRINCIPAL_EXISTS"),
        ("principals.remove", {"name": "nobody"}, NotFound, "PRINCIPAL_NOT_FOUND"),
        ("tokens.revoke", {"id": "tok_x"}, NotFound, "TOKEN_NOT_FOUND"),
        ("keys.revoke", {"id": "key_x"}, NotFound, "KEY_NOT_FOUND"),
    ],
)
def test_bad_requests_say_what_is_wrong(
    bench: Bench, name: str, fields: dict[str, object], error: type[Exception], code: str
) -> None:
    with pytest.raises(error) as caught:
        bench.call(name, **fields)
    assert caught.value.own_code == code
    assert caught.value.hint, "what to type next"


def test_a_caller_is_remembered_until_something_is_committed_or_a_second_has_passed(
    bench: Bench, tmp_path: Path
) -> None:
    made = bench.call("tokens.create", label="laptop")
    assert bench.authenticate(made.secret).name == "admin"
    elsewhere = SqliteDatabase(tmp_path / "bough.db")  # another process: nobody tells this one
    with elsewhere.write() as tx:
        store.revoke(tx, store.token, made.id, bench.clock.now())
    elsewhere.close()
    assert bench.authenticate(made.secret).name == "admin"
    bench.clock.advance(REMEMBERED_S + 0.01)
    with pytest.raises(Unauthenticated):
        bench.authenticate(made.secret)
    again = bench.call("tokens.create", label="laptop")
    assert bench.authenticate(again.secret).name == "admin"
    bench.call("tokens.revoke", id=again.id)
    with pytest.raises(Unauthenticated):
        bench.authenticate(again.secret)


def test_a_rotated_key_has_the_rights_of_the_old_one_which_ends_after_the_grace(bench: Bench) -> None:
    asked = {
        "services": ["churn"],
        "environments": ["dev"],
        "scopes": ["predict"],
        "tenant": "acme",
        "priority": "high",
        "quota": "5/s",
    }
    old = bench.call("keys.create", project="shop", days=30, **asked)
    new = bench.call("keys.rotate", id=old.id, grace_h=2)
    assert new.secret != old.secret
    views = {each.id: each for each in bench.call("keys.list")}
    kept = ("project", "services", "environments", "scopes", "tenant", "priority", "quota")
    assert [getattr(views[new.id], name) for name in kept] == [getattr(views[old.id], name) for name in kept]
    assert views[new.id].expires_at - views[new.id].created_at == pytest.approx(30 * 86_400)
    assert views[old.id].expires_at == pytest.approx(views[new.id].created_at + 2 * 3600)
    with bench.database.read() as tx:
        assert set(store.key_hashes(tx)) == {old.id, new.id}
    last = bench.call("keys.rotate", id=new.id, grace_h=0, days=0)
    assert last.expires_at == 0
    with bench.database.read() as tx:
        assert set(store.key_hashes(tx)) == {old.id, last.id}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"priority": "urgent"}, "PRIORITY_UNKNOWN"),
        ({"quota": "many"}, "QUOTA_INVALID"),
        ({"scopes": ["two words"]}, "SCOPE_INVALID"),
    ],
)
def test_a_key_with_a_mistake_is_not_made(bench: Bench, fields: dict[str, object], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        bench.call("keys.create", project="shop", **fields)
    assert caught.value.own_code == code
    assert bench.call("keys.list") == []


def test_a_key_that_has_ended_is_not_rotated(bench: Bench) -> None:
    key = bench.call("keys.create", project="shop")
    bench.call("keys.revoke", id=key.id)
    with pytest.raises(Conflict) as caught:
        bench.call("keys.rotate", id=key.id)
    assert caught.value.own_code == "KEY_ENDED"


def test_a_key_for_what_is_not_there_says_so(bench: Bench) -> None:
    with pytest.raises(NotFound, match="no project 'shp'") as refused:
        bench.call("keys.create", project="shp")
    assert refused.value.own_code == "PROJECT_NOT_FOUND"
    key = bench.call("keys.create", project="shop", services=["churn", "chrun"], environments=["main", "try"])
    assert key.not_there_yet == ["chrun", "try"]
    assert bench.call("keys.create", project="shop", services=["churn"]).not_there_yet == []
