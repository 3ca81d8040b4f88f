"""An operation is declared once; role, transaction, idempotency, audit and typing happen around it, always."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Annotated, Any

import msgspec
import pytest
import sqlalchemy as sa

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.clock import Clock, VirtualClock
from bough.kernel.context import Context, Parts, Principal, Role, StreamClosed
from bough.kernel.errors import Conflict, Exhausted, Forbidden, Invalid, NotFound
from bough.kernel.events import Events, read
from bough.kernel.operations import Commit, Operations, collect, fresh_key, operation
from bough.kernel.tables import audit, idempotency

fruit = sa.Table("fruit", sa.MetaData(), sa.Column("name", sa.Text, primary_key=True), sa.Column("kind", sa.Text))
DEVELOPER = Principal(id="p1", name="dora", role=Role.DEVELOPER)
VIEWER = Principal(id="p2", name="vic", role=Role.VIEWER)


class Plant(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: str = "apple"


class Planted(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    count: int


class Look(msgspec.Struct, frozen=True, kw_only=True):
    kind: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    names: list[str]


@operation("fruit.plant", role=Role.DEVELOPER, writes=True)
def plant(context: Context, request: Plant) -> Planted:
    """Plants a fruit.

    A second line for the help page.
    """
    if request.kind == "stone":
        raise Conflict("stones do not grow", code="STONE")
    context.tx.execute(fruit.insert().values(name=request.name, kind=request.kind))
    context.emit("fruit.planted", request.name, kind=request.kind)
    if request.kind == "bug":
        raise KeyError("a mistake of ours")
    if request.kind == "refused":
        raise Invalid("too late in the year", code="SEASON")
    return Planted(name=request.name, count=len(context.tx.execute(fruit.select()).all()))


@operation("fruit.forget", role=Role.ADMIN, writes=True, command="fruit rm")
def forget(context: Context, request: Plant) -> None:
    """Forgets a fruit."""
    context.tx.execute(fruit.delete().where(fruit.c.name == request.name))


@operation("fruit.touch", role=Role.DEVELOPER, writes=True)
def touch(context: Context, request: Plant) -> None:
    """Leaves a trace and answers nothing."""
    context.emit("fruit.touched", request.name)


@operation("fruit.list", role=Role.VIEWER)
def list_fruit(context: Context, request: Look) -> list[str]:
    """Names of fruit."""
    return list(context.tx.execute(sa.select(fruit.c.name).order_by(fruit.c.name).limit(request.limit)).scalars())


@operation("fruit.sneak", role=Role.VIEWER)
def sneak(context: Context, request: Look) -> None:
    """Writes though it did not say so."""
    context.tx.execute(fruit.insert().values(name="sneaky"))


@operation("fruit.secret", role=Role.DEVELOPER, writes=True, secret=True)
def secret(context: Context, request: Plant) -> str:
    """Answers what must not be kept."""
    return f"secret of {request.name}"


@operation("fruit.watch", role=Role.DEVELOPER)
def watch(context: Context, request: Look) -> Iterator[str]:
    """Names as they appear."""
    seen: set[str] = set()
    while len(seen) < request.limit:
        with context.read() as tx:
            new = set(tx.execute(sa.select(fruit.c.name)).scalars()) - seen
        yield from sorted(new)
        seen |= new
        context.pause(60.0)


@operation("fruit.bulk", role=Role.VIEWER)
def bulk(context: Context, request: Bulk) -> int:
    """Takes what does not fit into a query string."""
    return len(request.names)


def module(*operations: Any) -> ModuleType:
    made = ModuleType("verbs")
    vars(made).update({f"verb_{number}": each for number, each in enumerate(operations)})
    return made


@pytest.fixture
def operations(database: SqliteDatabase, clock: VirtualClock) -> Operations:
    with database.write() as tx:
        fruit.create(tx)
    verbs = module(plant, forget, touch, list_fruit, sneak, secret, watch, bulk)
    return Operations([verbs], database, Events(clock), clock, Parts({Clock: clock}))


def audited(database: SqliteDatabase) -> list[tuple[str, str, str, str]]:
    columns = audit.c.principal, audit.c.operation, audit.c.subject, audit.c.outcome
    with database.read() as tx:
        return [tuple(row) for row in tx.execute(sa.select(*columns).order_by(audit.c.seq))]


def names(database: SqliteDatabase) -> list[str]:
    with database.read() as tx:
        return list(tx.execute(sa.select(fruit.c.name).order_by(fruit.c.name)).scalars())


# --- what is derived from the declaration


def test_method_path_command_and_help_come_from_the_declaration() -> None:
    assert (plant.method, plant.path, plant.command) == ("POST", "/api/v1/fruit/plant", "fruit plant")
    assert plant.help == "Plants a fruit.\n\nA second line for the help page."
    assert forget.command == "fruit rm"
    assert list_fruit.method == "GET", "reads with a scalar request are GETs"
    assert bulk.method == "POST", "a list does not fit into a query string"
    assert (watch.streams, plant.streams) == (True, False)
    assert (plant.request, plant.response) == (Plant, Planted)


def test_two_operations_of_one_name_are_a_mistake_and_one_seen_twice_is_not() -> None:
    @operation("fruit.plant", role=Role.ADMIN)
    def again(context: Context, request: Plant) -> None:
        """Another verb under a name that is taken."""

    assert list(collect([module(plant), module(plant, bulk)])) == ["fruit.bulk", "fruit.plant"]
    with pytest.raises(ValueError, match=r"two operations are called fruit\.plant"):
        collect([module(plant), module(again)])


# --- roles


def test_a_role_below_is_refused_with_what_to_do_and_put_on_record(
    operations: Operations, database: SqliteDatabase
) -> None:
    with pytest.raises(Forbidden) as raised:
        operations.call("fruit.plant", Plant(name="a"), VIEWER)
    assert raised.value.own_code == "ROLE_MISSING"
    assert "set-role vic developer" in raised.value.hint
    assert names(database) == []
    assert audited(database) == [("vic", "fruit.plant", "a", "ROLE_MISSING")]


def test_a_stream_is_refused_when_it_is_asked_for_not_when_it_is_read(operations: Operations) -> None:
    with pytest.raises(Forbidden):
        operations.call("fruit.watch", Look(), VIEWER)


@pytest.mark.parametrize("role", list(Role))
def test_every_role_includes_the_ones_below(operations: Operations, role: Role) -> None:
    someone = Principal(id="p", name="x", role=role)
    for name, needed in (("fruit.list", Role.VIEWER), ("fruit.touch", Role.DEVELOPER), ("fruit.forget", Role.ADMIN)):
        request = {} if name == "fruit.list" else {"name": "a"}
        if role >= needed:
            operations.call(name, request, someone)
        else:
            with pytest.raises(Forbidden):
                operations.call(name, request, someone)


# --- transaction and audit


def test_a_call_that_works_is_on_record_with_time_and_digest(
    operations: Operations, database: SqliteDatabase, clock: VirtualClock
) -> None:
    assert operations.call("fruit.plant", Plant(name="a"), DEVELOPER) == Planted(name="a", count=1)
    assert audited(database) == [("dora", "fruit.plant", "a", "ok")]
    with database.read() as tx:
        row = tx.execute(audit.select()).one()
        assert [event.name for event in read(tx)] == ["fruit.planted"]
    assert row.at == clock.now()
    assert row.milliseconds >= 0
    assert len(row.request_digest) == 64


@pytest.mark.parametrize(
    ("kind", "error", "outcome"),
    [("stone", Conflict, "STONE"), ("refused", Invalid, "SEASON"), ("bug", KeyError, "INTERNAL")],
)
def test_an_error_undoes_everything_but_its_record(
    operations: Operations, database: SqliteDatabase, kind: str, error: type[Exception], outcome: str
) -> None:
    with pytest.raises(error):
        operations.call("fruit.plant", Plant(name="a", kind=kind), DEVELOPER, key="k1")
    assert names(database) == []
    assert audited(database) == [("dora", "fruit.plant", "a", outcome)]
    with database.read() as tx:
        assert read(tx) == []
        assert tx.execute(idempotency.select()).all() == []
    assert operations.call("fruit.plant", Plant(name="a"), DEVELOPER, key="k1").count == 1, "the key is free again"


def test_reads_leave_no_record_and_cannot_write(operations: Operations, database: SqliteDatabase) -> None:
    assert operations.call("fruit.list", {}, VIEWER) == []
    with pytest.raises(RuntimeError, match="writes=True"):
        operations.call("fruit.sneak", {}, VIEWER)
    assert audited(database) == []
    assert names(database) == []


def test_the_audit_holds_no_content_of_requests(operations: Operations, database: SqliteDatabase) -> None:
    operations.call("fruit.plant", Plant(name="a", kind="hush-hush"), DEVELOPER)
    with database.read() as tx:
        assert "hush-hush" not in str(tx.execute(audit.select()).one())


def test_a_full_disk_under_an_operation_is_said_so(operations: Operations, database: SqliteDatabase) -> None:
    @operation("fruit.flood", role=Role.VIEWER, writes=True)
    def flood(context: Context, request: Look) -> None:
        """Fills the disk."""
        raise OSError(28, "No space left on device")

    flooded = Operations([module(flood)], database, Events(VirtualClock()), VirtualClock(), Parts({}))
    with pytest.raises(Exhausted):
        flooded.call("fruit.flood", {}, VIEWER)


def test_an_error_that_cannot_be_put_on_record_is_said_all_the_same(
    operations: Operations, database: SqliteDatabase
) -> None:
    """What the verb has to say of a full disk, such as how far it came, is more than that the record is on it too."""

    @operation("fruit.press", role=Role.VIEWER, writes=True, slow=True)
    def press(context: Context, request: Look) -> Commit[None]:
        """Fills the disk half-way."""
        with database.write() as tx:
            tx.exec_driver_sql("PRAGMA query_only = 1")
        raise Exhausted("7 of 9 fruits are pressed", code="DISK_FULL")

    pressing = Operations([module(press)], database, Events(VirtualClock()), VirtualClock(), Parts({}))
    with pytest.raises(Exhausted, match="7 of 9"):
        pressing.call("fruit.press", {}, VIEWER)


# --- idempotency


def test_the_same_key_and_request_get_the_first_answer_and_happen_once(
    operations: Operations, database: SqliteDatabase
) -> None:
    key = fresh_key()
    first = operations.call("fruit.plant", Plant(name="a"), DEVELOPER, key=key)
    operations.call("fruit.plant", Plant(name="b"), DEVELOPER)
    assert operations.call("fruit.plant", {"name": "a"}, DEVELOPER, key=key) == first
    assert names(database) == ["a", "b"]
    assert len(audited(database)) == 2


def test_the_same_key_with_an_answer_of_nothing_happens_once(operations: Operations, database: SqliteDatabase) -> None:
    for _ in range(2):
        assert operations.call("fruit.touch", Plant(name="a"), DEVELOPER, key="k") is None
    with database.read() as tx:
        assert len(read(tx)) == 1


@pytest.mark.parametrize("other", [("fruit.plant", Plant(name="b")), ("fruit.touch", Plant(name="a"))])
def test_a_key_cannot_serve_another_request(
    operations: Operations, database: SqliteDatabase, other: tuple[str, Plant]
) -> None:
    operations.call("fruit.plant", Plant(name="a"), DEVELOPER, key="k")
    with pytest.raises(Conflict) as raised:
        operations.call(*other, DEVELOPER, key="k")
    assert raised.value.own_code == "KEY_REUSED"
    assert names(database) == ["a"]
    assert [row[3] for row in audited(database)] == ["ok", "KEY_REUSED"]


def test_keys_of_two_principals_do_not_meet(operations: Operations, database: SqliteDatabase) -> None:
    other = Principal(id="p9", name="dan", role=Role.DEVELOPER)
    operations.call("fruit.plant", Plant(name="a"), DEVELOPER, key="k")
    operations.call("fruit.plant", Plant(name="b"), other, key="k")
    assert names(database) == ["a", "b"]


def test_one_key_from_many_threads_happens_once(operations: Operations, database: SqliteDatabase) -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(operations.call("fruit.plant", Plant(name="a"), DEVELOPER, key="k"))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [Planted(name="a", count=1)] * 8


def test_a_repeated_key_does_not_show_a_secret_again(operations: Operations, database: SqliteDatabase) -> None:
    assert operations.call("fruit.secret", Plant(name="a"), DEVELOPER, key="k") == "secret of a"
    with pytest.raises(Conflict) as raised:
        operations.call("fruit.secret", Plant(name="a"), DEVELOPER, key="k")
    assert raised.value.own_code == "SECRET_SHOWN"
    with database.read() as tx:
        assert b"secret of" not in tx.execute(idempotency.select()).one().response


def test_a_role_that_was_taken_away_does_not_get_the_first_answer_again(operations: Operations) -> None:
    operations.call("fruit.plant", Plant(name="a"), DEVELOPER, key="k")
    demoted = Principal(id=DEVELOPER.id, name="dora", role=Role.VIEWER)
    with pytest.raises(Forbidden):
        operations.call("fruit.plant", Plant(name="a"), demoted, key="k")


# --- requests


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("fruit.plant", {}),
        ("fruit.plant", {"name": 3}),
        ("fruit.plant", 7),
        ("fruit.list", {"limit": 0}),
        ("fruit.list", {"limit": "x"}),
        ("fruit.bulk", {"names": [1]}),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused_before_anything_happens(
    operations: Operations, database: SqliteDatabase, name: str, request_: Any
) -> None:
    with pytest.raises(Invalid) as raised:
        operations.call(name, request_, DEVELOPER)
    assert raised.value.own_code == "REQUEST_INVALID"
    assert raised.value.message.startswith(name)
    assert raised.value.hint.startswith("bough fruit ")
    assert audited(database) == []


def test_query_strings_are_read_as_their_types(operations: Operations) -> None:
    assert operations.call("fruit.list", {"limit": "3"}, VIEWER) == []


def test_an_unknown_operation_is_not_found(operations: Operations) -> None:
    with pytest.raises(NotFound) as raised:
        operations.call("fruit.eat", {}, DEVELOPER)
    assert raised.value.own_code == "OPERATION_NOT_FOUND"


# --- streams


def test_a_stream_holds_no_transaction_and_sees_what_comes_later(
    operations: Operations, database: SqliteDatabase
) -> None:
    closed = threading.Event()
    stream = operations.call("fruit.watch", Look(limit=10), DEVELOPER, closed=closed)
    operations.call("fruit.plant", Plant(name="a"), DEVELOPER)
    operations.call("fruit.plant", Plant(name="b"), DEVELOPER)
    assert [next(stream), next(stream)] == ["a", "b"]
    closed.set()
    with pytest.raises(StreamClosed):
        next(stream)


def test_a_stream_has_no_transaction_to_misuse(database: SqliteDatabase, clock: VirtualClock) -> None:
    context = Context(VIEWER, None, clock, Events(clock), Parts({}), database)
    with pytest.raises(RuntimeError, match=r"context\.read"):
        _ = context.tx
    with pytest.raises(RuntimeError, match=r"context\.read"):
        context.emit("x", "y")


def test_parts_are_found_by_interface(database: SqliteDatabase, clock: VirtualClock) -> None:
    context = Context(VIEWER, None, clock, Events(clock), Parts({Clock: clock}), database)
    assert context.part(Clock) is clock  # type: ignore[type-abstract]
    with pytest.raises(KeyError):
        context.part(SqliteDatabase)
