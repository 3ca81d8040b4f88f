"""Redis, with real servers: what environments do with other databases holds of these."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.adapters.sql import Script, redis_log, redis_server
from bough.adapters.sql.redis import Redis
from bough.adapters.sql.redis_lines import Line, opened
from bough.adapters.sql.redis_server import Program
from bough.databases.giving import variables_of
from bough.kernel.errors import Busy, Conflict, Exhausted, Invalid, Problem, Unavailable
from bough.secrets.models import Sealed
from tests.databases.conftest import PROJECT
from tests.plane import Plane

pytestmark = pytest.mark.skipif(bool(Program().why_not), reason=Program().why_not or "-")
BOTH = {b"ada": b"1", b"bob": b"2"}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Redis, str]]:
    """A server with a hash of two fields, which tests cut from and do not write into."""
    engine = Redis(tmp_path_factory.mktemp("redis"))
    handle = engine.make("copy")
    run(engine, handle, "HSET", "orders", "ada", "1", "bob", "2")
    yield engine, handle
    engine.stop()


def run(engine: Redis, handle: str, *words: Any) -> Any:
    """As a program does it: with the URL, and nothing else."""
    engine.ensure(handle)
    with programs_line(engine.url(handle, Path("-"))) as line:
        return line.ask(*words)


def programs_line(url: str) -> Any:
    password, _, rest = url.removeprefix("unix://:").partition("@")
    return opened(Path(rest.partition("?")[0]), "", password, within_s=20.0)


def orders(engine: Redis, handle: str) -> dict[bytes, bytes]:
    said = run(engine, handle, "HGETALL", "orders")
    return dict(zip(said[::2], said[1::2], strict=True))


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_branch_of_a_branch_has_the_keys_and_each_writes_for_itself(first: tuple[Redis, str]) -> None:
    engine, handle = first
    branch = engine.cut(handle).handle
    run(engine, branch, "HSET", "orders", "ada", "7")
    second = engine.cut(branch).handle
    third = engine.cut(second).handle  # of one that has never been started
    run(engine, branch, "DEL", "orders")
    assert orders(engine, handle) == BOTH
    assert orders(engine, third) == orders(engine, second) == {b"ada": b"7", b"bob": b"2"}
    assert orders(engine, branch) == {}
    assert engine.check(third) == []
    assert len({engine.url(each, Path("-")) for each in (handle, branch, second, third)}) == 4
    for each in (branch, second, third):
        engine.close(each)


def test_a_branch_costs_what_was_announced_and_shares_the_log_until_it_starts(tmp_path: Path) -> None:
    engine = Redis(tmp_path)
    try:
        handle = engine.make("copy")
        for number in range(20):
            run(engine, handle, "SET", f"large:{number}", os.urandom(100_000))
        told = engine.announce(handle)
        assert told.way == "copy" and told.size > 2_000_000 and told.seconds > 0
        made = engine.cut(handle)
        assert made.size == told.size and made.held_s < 5
        assert engine.own_bytes(made.handle) < 100_000, "nothing is copied at the cut"
        engine.ensure(made.handle)
        assert redis_log.size(engine._server(made.handle).place) == told.size
        if not Program().version >= (7,):
            assert told.bytes == told.size <= engine.own_bytes(made.handle)
    finally:
        engine.stop()


def test_a_rewrite_of_the_parents_log_takes_nothing_from_a_branch_that_never_started(tmp_path: Path) -> None:
    engine = Redis(tmp_path)
    try:
        handle = engine.make("copy")
        run(engine, handle, "SET", "number", "1")
        made = engine.cut(handle).handle
        run(engine, handle, "SET", "number", "2")
        server = engine._server(handle)
        with server.line() as line:
            line.ask("BGREWRITEAOF")
            wait_until(lambda: b"aof_rewrite_in_progress:0" in line.ask("INFO", "persistence"))
        again = engine.cut(handle).handle
        engine.close(handle)
        engine.sweep([made, again], -1)
        assert (run(engine, made, "GET", "number"), run(engine, again, "GET", "number")) == (b"1", b"2")
        run(engine, made, "SET", "number", "3")
        engine.close(made)
        assert run(engine, made, "GET", "number") == b"3", "what was shared is its own, and is not cut off again"
    finally:
        engine.stop()


@pytest.mark.parametrize("moment", ["before", "copied", "cut off", "synced"])
def test_a_log_is_taken_over_whole_whenever_that_was_interrupted(tmp_path: Path, moment: str) -> None:
    source, branch = tmp_path / "source", tmp_path / "branch"
    (source / "data").mkdir(parents=True)
    log = source / "data" / redis_log.SINGLE
    log.write_bytes(b"of the cut")
    (branch / "data").mkdir(parents=True)
    redis_log.share(source, branch)
    with log.open("ab") as file:
        file.write(b", and since")
    own = branch / "data" / redis_log.SINGLE
    if moment == "copied":
        own.with_name(f"{own.name}.own").write_bytes(b"of t")
    elif moment == "cut off":
        log.unlink()
    elif moment == "synced":
        own.unlink()
        own.write_bytes(b"of the cut")
    redis_log.take_over(branch)
    assert own.read_bytes() == b"of the cut" and own.stat().st_nlink == 1
    with own.open("ab") as file:
        file.write(b" and more")
    redis_log.take_over(branch)
    assert own.read_bytes() == b"of the cut and more"
    assert not log.exists() or log.read_bytes() == b"of the cut, and since"


def test_a_rewrite_that_ends_during_a_cut_leaves_it_the_parts_of_its_own_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Redis 7 does it: other parts, then the list in place of the one before, then the old parts go."""
    source, branch = tmp_path / "source", tmp_path / "branch"
    log = source / "data" / redis_log.FOLDER
    log.mkdir(parents=True)
    (branch / "data").mkdir(parents=True)

    def rewrite(number: int) -> None:
        names = [f"{redis_log.SINGLE}.{number}.{kind}" for kind in ("base.rdb", "incr.aof")]
        for name in names:
            (log / name).write_bytes(name.encode())
        listed = "".join(f"file {name} seq {number} type {kind}\n" for name, kind in zip(names, "bi", strict=True))
        (log / "list").write_text(listed)
        (log / "list").rename(source / "data" / redis_log.MANIFEST)

    def link(path: Path, target: Path) -> None:
        if not ended:
            ended.append(True)
            rewrite(2)  # the parts of the first are still there: a thread removes them when it gets to it
        os.link(target, path)

    rewrite(1)
    ended: list[bool] = []
    monkeypatch.setattr(Path, "hardlink_to", link)
    size = redis_log.share(source, branch)
    parts = {name: branch / "data" / name for name in redis_log.files_of(branch / "data")}
    assert all(path.exists() for path in parts.values()) and len(parts) == 3
    assert size == sum(path.stat().st_size for path in parts.values())
    assert [path.read_bytes().decode() for name, path in parts.items() if name != redis_log.MANIFEST] == [
        f"{redis_log.SINGLE}.2.base.rdb", f"{redis_log.SINGLE}.2.incr.aof",
    ]  # fmt: skip


def test_a_log_that_is_shared_is_never_appended_to_even_without_its_length(tmp_path: Path) -> None:
    source, branch = tmp_path / "source", tmp_path / "branch"
    for each in (source, branch):
        (each / "data").mkdir(parents=True)
    (source / "data" / redis_log.SINGLE).write_bytes(b"all")
    redis_log.share(source, branch)
    (branch / redis_log.TAKEN).unlink()
    redis_log.take_over(branch)
    assert (branch / "data" / redis_log.SINGLE).stat().st_nlink == 1


def test_cuts_under_three_writers_hold_all_that_was_answered_before_and_one_moment_only(tmp_path: Path) -> None:
    """Each writer counts in two keys at once; a cut between them would show a difference."""
    engine = Redis(tmp_path)
    ended = threading.Event()
    counts = [0, 0, 0]

    def write(number: int, handle: str) -> None:
        with programs_line(engine.url(handle, Path("-"))) as line:
            while not ended.is_set():
                line.ask_all([("MULTI",), ("INCR", f"a{number}"), ("INCR", f"b{number}"), ("EXEC",)])
                counts[number] += 1

    try:
        handle = engine.make("copy")
        writers = [threading.Thread(target=write, args=(number, handle)) for number in range(3)]
        for each in writers:
            each.start()
        wait_until(lambda: min(counts) > 20)
        made = []
        for _ in range(4):
            before = list(counts)
            made.append((engine.cut(handle).handle, before, list(counts)))
            branch = made[-1][0]
            for number in range(3):  # the branch is written too, as the parent is
                run(engine, branch, "INCR", f"own{number}")
        ended.set()
        for each in writers:
            each.join()
        for branch, before, after in made:
            for number in range(3):
                a, b = run(engine, branch, "MGET", f"a{number}", f"b{number}")
                assert a == b and before[number] <= int(a) <= after[number] + 1
            assert engine.check(branch) == []
            assert run(engine, branch, "GET", "own0") == b"1"
        assert run(engine, handle, "GET", "own0") is None
        assert [int(run(engine, handle, "GET", f"a{number}")) for number in range(3)] == counts
    finally:
        ended.set()
        engine.stop()


def test_writers_are_held_for_a_moment_only_whoever_is_killed_meanwhile(first: tuple[Redis, str]) -> None:
    engine, _ = first
    handle = engine.cut(first[1]).handle
    engine.ensure(handle)
    script = (
        "import sys, time; from pathlib import Path; from bough.adapters.sql.redis import Redis\n"
        "with Redis(Path(sys.argv[1]))._server(sys.argv[2]).held():\n"
        "    print('held', flush=True); time.sleep(100)"
    )
    cutter = subprocess.Popen([sys.executable, "-c", script, str(engine._root), handle], stdout=subprocess.PIPE)
    assert cutter.stdout is not None and cutter.stdout.readline() == b"held\n"
    with programs_line(engine.url(handle, Path("-"))) as line:
        assert line.ask("HGET", "orders", "ada") == b"1", "readers do not wait"
    cutter.kill()
    cutter.communicate()
    assert run(engine, handle, "HSET", "orders", "eve", "3") == 1
    assert engine.cut(handle).size > 0
    engine.close(handle)


def test_a_script_that_does_not_end_keeps_a_branch_from_being_made(
    first: tuple[Redis, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "HELD_S", 1.0)
    monkeypatch.setattr(redis_server, "STOP_S", 1.0)  # which all go by while the script has a core to itself
    engine, _ = first
    handle = engine.cut(first[1]).handle
    engine.ensure(handle)

    def endless() -> None:
        with pytest.raises((Unavailable, Invalid)):
            run(engine, handle, "EVAL", "while true do end", 0)

    program = threading.Thread(target=endless)
    program.start()
    before = len(engine._folders())
    time.sleep(0.2)  # until it runs; one that comes later fails the test below
    with pytest.raises(Busy, match="held"):
        engine.cut(handle)
    assert len(engine._folders()) == before
    engine.close(handle)
    program.join()
    assert orders(engine, handle) == BOTH
    engine.close(handle)


def test_a_server_that_was_killed_is_started_again_with_what_was_answered(first: tuple[Redis, str]) -> None:
    engine, _ = first
    handle = engine.cut(first[1]).handle
    run(engine, handle, "HSET", "orders", "eve", "3")
    server = engine._server(handle)
    with server.held():
        pass
    os.kill(server.pid(), signal.SIGKILL)
    wait_until(lambda: not server.runs)
    again = Redis(engine._root)  # as after a restart of Bough
    again.keep(handle)
    assert orders(again, handle) == {**BOTH, b"eve": b"3"}
    engine.close(handle)
    assert not server.runs
    engine.keep(handle)
    assert not server.runs, "what was stopped stays so"


def test_the_end_of_a_log_that_a_kill_cut_off_is_dropped_and_the_rest_is_there(first: tuple[Redis, str]) -> None:
    engine, _ = first
    handle = engine.cut(first[1]).handle
    run(engine, handle, "HSET", "orders", "eve", "3")
    engine.close(handle)
    (grows,) = [name for name, each in redis_log.files_of(engine.path(handle)).items() if each]
    with (engine.path(handle) / grows).open("ab") as log:
        log.write(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$5\r\nab")
    made = engine.cut(handle).handle
    assert orders(engine, handle) == orders(engine, made) == {**BOTH, b"eve": b"3"}
    for each in (handle, made):
        engine.close(each)


def test_several_who_start_a_server_at_once_all_find_the_one(first: tuple[Redis, str]) -> None:
    engine, _ = first
    handle = engine.cut(first[1]).handle
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(engine.ensure, [handle] * 4))
    pid = engine._server(handle).pid()
    assert pid and orders(engine, handle) == BOTH and engine._server(handle).pid() == pid
    engine.close(handle)


def test_programs_may_work_and_not_administer(first: tuple[Redis, str]) -> None:
    engine, _ = first
    handle = engine.cut(first[1]).handle
    engine.ensure(handle)
    refused = (
        *("CONFIG GET dir", "SHUTDOWN", "DEBUG RELOAD", "MODULE LIST", "REPLICAOF NO ONE", "MIGRATE h 1 k 0 1"),
        *("CLIENT UNPAUSE", "CLIENT PAUSE 1", "ACL LIST", "BGSAVE", "PSYNC ? -1", "MONITOR"),
    )
    server = engine._server(handle)
    with programs_line(engine.url(handle, Path("-"))) as line:
        for each in refused:
            with pytest.raises(Invalid, match=r"NOPERM|DEBUG command not allowed"):
                line.ask(*each.split())
        for each in ("CLIENT SETNAME web", "INFO", "SELECT 3", "EVAL return(1) 0", "SUBSCRIBE news"):
            line.ask(*each.split())
    with pytest.raises(Invalid, match="WRONGPASS"), opened(server.socket, "", "guessed"):
        pass
    with contextlib.closing(unknown(server.socket)) as line, pytest.raises(Invalid, match="NOAUTH"):
        line.ask("GET", "orders")
    assert server.socket.parent.stat().st_mode & 0o077 == 0
    assert (server.place / "redis.conf").stat().st_mode & 0o077 == 0
    listening = Path(f"/proc/{server.pid()}/net/tcp").read_text()
    inodes = {os.readlink(each) for each in Path(f"/proc/{server.pid()}/fd").iterdir() if each.is_symlink()}  # noqa: PTH115
    ports = [line for line in listening.splitlines()[1:] if f"socket:[{line.split()[9]}]" in inodes]
    assert ports == [], "it listens at no port"
    engine.close(handle)


def unknown(path: Path) -> Line:
    """Somebody who does not sign in."""
    line = Line.__new__(Line)
    import socket

    line._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line._socket.connect(str(path))
    line._answers = line._socket.makefile("rb")
    return line


def test_the_usual_client_takes_the_url(first: tuple[Redis, str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    from bough.runtime.pages.opening import database

    engine, handle = first
    monkeypatch.setenv("CACHE_URL", engine.url(handle, Path("-")))
    with database("cache") as client:
        assert client.hgetall("orders") == BOTH


def test_a_snapshot_of_all_comes_back(first: tuple[Redis, str], tmp_path: Path) -> None:
    engine, handle = first
    engine.dump(handle, tmp_path / "dump.rdb")
    made = engine.make("copy", tmp_path / "dump.rdb")
    assert orders(engine, made) == BOTH and (tmp_path / "dump.rdb").exists()
    again = engine.cut(made).handle
    assert orders(engine, again) == BOTH
    for each in (made, again):
        engine.close(each)


@pytest.mark.parametrize("content", [b"no snapshot", b"REDIS0009" + b"\xfa" * 40])
def test_a_file_that_is_no_snapshot_is_refused_and_nothing_stays(tmp_path: Path, content: bytes) -> None:
    engine = Redis(tmp_path / "root")
    (tmp_path / "given").write_bytes(content)
    with pytest.raises(Invalid, match="no snapshot or log"):
        engine.make("copy", tmp_path / "given")
    assert engine._folders() == []


def test_what_cannot_be_taken_back_is_no_migration(first: tuple[Redis, str]) -> None:
    engine, handle = first
    assert engine.migrate(handle, []) == []
    with pytest.raises(Invalid) as refused:
        engine.migrate(handle, [Script(name="1", digest="a", sql="SET x 1")])
    assert refused.value.own_code == "MIGRATION_UNFIT" and run(engine, handle, "EXISTS", "x") == 0


def test_a_full_disk_refuses_writes_and_loses_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    engine = Redis(folder / "root")
    try:
        handle = engine.make("copy")
        run(engine, handle, "SET", "kept", "1")
        with programs_line(engine.url(handle, Path("-"))) as line, pytest.raises(Invalid, match="MISCONF"):
            for number in range(100):
                line.ask("SET", f"large:{number}", os.urandom(100_000))
                time.sleep(0.001)
        assert run(engine, handle, "GET", "kept") == b"1", "readers go on"
        with pytest.raises(Exhausted):
            engine.dump(handle, folder / "dump")
        with pytest.raises(Exhausted):
            engine.cut(handle)
        with programs_line(engine.url(handle, Path("-"))) as line:
            there = sorted(line.ask("KEYS", "*"))
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        wait_until(lambda: _takes_writes(engine, handle))
        with engine._server(handle).held():  # until its log has all that it has answered
            pass
        os.kill(engine._server(handle).pid(), signal.SIGKILL)
        wait_until(lambda: not engine._server(handle).runs)
        engine.keep(handle)
        assert sorted(run(engine, handle, "KEYS", "*")) == sorted({*there, b"again"})
        assert engine.check(handle) == [] and engine.check(engine.cut(handle).handle) == []
    finally:
        engine.stop()
        subprocess.run(["umount", "--lazy", folder], check=True)


def _takes_writes(engine: Redis, handle: str) -> bool:
    try:
        return bool(run(engine, handle, "SET", "again", "1"))
    except Invalid:
        return False


POLICY = {
    "user:*.email": "hash", "user:*.name": "token", "user:*.age": "noise", "user:*.phone": "drop",
    "user:*.@key": "token", "online.*": "token", "session:*.email": "null", "secret:*.@key": "drop",
    "log.text": "hash", "last.*": "drop", "rank.*": "hash",
}  # fmt: skip
CLEAR = (b"ada@example.org", b"Ada Lovelace", b"+44 20 7946", b"ada-lovelace", b"hidden value", b"seen ada")


@pytest.fixture
def people(tmp_path: Path) -> Iterator[tuple[Redis, str]]:
    engine = Redis(tmp_path / "people")
    handle = engine.make("copy")
    said: list[tuple[Any, ...]] = [
        ("HSET", "user:ada-lovelace", "email", "ada@example.org", "name", "Ada Lovelace", "age", 4000, "phone",
         "+44 20 7946", "country", "England"),
        ("SADD", "online", "ada-lovelace"),
        ("SET", "session:1", json.dumps({"email": "ada@example.org", "page": "/cart", "items": [1, 2]}), "EX", 5000),
        ("SET", "secret:1", "hidden value"),
        ("XADD", "log", "1-1", "text", "seen ada, at ada@example.org", "kind", "visit"),
        ("RPUSH", "last", "Ada Lovelace", "Ada Lovelace"),
        ("ZADD", "rank", 3, "Ada Lovelace"),
        ("SET", "page:home", "x" * 5000),
        ("SELECT", 4),
        ("HSET", "user:4", "name", "Ada Lovelace", "email", ""),
    ]  # fmt: skip
    with programs_line(engine.url(handle, Path("-"))) as line:
        for each in said:
            line.ask(*each)
    yield engine, handle
    engine.stop()


def test_masked_values_are_nowhere_in_the_files_of_the_branch(people: tuple[Redis, str]) -> None:
    engine, handle = people
    engine.check_policy(handle, POLICY)
    made = engine.mask(handle, POLICY)
    (user,) = run(engine, made, "KEYS", "user:*")
    (online,) = run(engine, made, "SMEMBERS", "online")
    assert user == b"user:" + online and online.startswith(b"tok_"), "equal values stay equal"
    said = run(engine, made, "HGETALL", user)
    fields = dict(zip(said[::2], said[1::2], strict=True))
    assert set(fields) == {b"email", b"name", b"age", b"country"} and fields[b"country"] == b"England"
    assert len(fields[b"email"]) == 64 and fields[b"name"].startswith(b"tok_") and 3600 <= int(fields[b"age"]) <= 4400
    session = json.loads(run(engine, made, "GET", "session:1"))
    assert session == {"email": None, "page": "/cart", "items": [1, 2]}
    assert 0 < run(engine, made, "TTL", "session:1") <= 5000
    assert run(engine, made, "EXISTS", "secret:1", "last") == 0
    ((id, entry),) = run(engine, made, "XRANGE", "log", "-", "+")
    assert (id, entry[2:]) == (b"1-1", [b"kind", b"visit"]) and len(entry[1]) == 64
    assert run(engine, made, "ZSCORE", "rank", run(engine, made, "ZRANGE", "rank", 0, 0)[0]) == b"3"
    assert run(engine, made, "GET", "page:home") == b"x" * 5000
    with programs_line(engine.url(made, Path("-"))) as line:
        line.ask("SELECT", 4)
        assert len(line.ask("KEYS", "user:tok_*")) == 1
    place = engine._server(made).place
    files = [path for path in place.rglob("*") if path.is_file()]
    assert [path.name for path in files if any(clear in path.read_bytes() for clear in CLEAR)] == []
    lie = [path.read_bytes() for path in engine.path(handle).rglob("*") if path.is_file()]
    assert all(any(clear in content for content in lie) for clear in CLEAR), "the search can find them"


@pytest.mark.parametrize(
    "repeated",
    [
        ("SET", "note", "call ada@example.org back"),
        ("SET", "sent:ada@example.org", "1"),
        ("SADD", "lists", "ada@example.org", "b"),
        ("SET", "packed", "ada@example.org " * 500),
    ],
)
def test_a_value_that_stands_in_clear_elsewhere_is_found_and_nothing_stays(
    people: tuple[Redis, str], repeated: tuple[str, ...]
) -> None:
    engine, handle = people
    run(engine, handle, *repeated)
    before = len(engine._folders())
    with pytest.raises(Conflict, match=r"\.email stands in clear") as refused:
        engine.mask(handle, POLICY)
    assert refused.value.own_code == "MASK_LEAKS" and len(engine._folders()) == before


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"usr:*.email": "hash"}, "no key or field usr"),
        ({"user:*.mail": "hash"}, "no key or field user"),
        ({"user:*.name": "noise"}, "noise is for numbers"),
        ({"user:*.@key": "null"}, "cannot be masked by null"),
        ({"user:ada.@key": "token"}, "cannot be masked by token"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_and_nothing_stays(
    people: tuple[Redis, str], policy: dict[str, str], said: str
) -> None:
    engine, handle = people
    before = len(engine._folders())
    with pytest.raises(Invalid, match=said) as refused:
        engine.mask(handle, policy)
    assert refused.value.own_code == "MASK_INVALID" and len(engine._folders()) == before


@pytest.fixture
def shop(plane: Plane) -> Iterator[Plane]:
    plane.call("databases.add", project=PROJECT, name="cache", engine="redis")
    yield plane
    Redis(plane.bough.home.databases / "redis").stop()


def asked(plane: Plane, environment: str, *words: Any) -> Any:
    url = plane.call("databases.url", project=PROJECT, name="cache", environment=environment).url
    with programs_line(url) as line:
        return line.ask(*words)


def test_environments_branch_with_it_and_what_that_costs_is_said_before(shop: Plane) -> None:
    asked(shop, "main", "SET", "greeting", "hello")
    (told,) = shop.call("databases.plan", project=PROJECT)
    assert told.engine == "redis" and told.way in ("clone", "copy") and told.seconds > 0
    shop.call("environments.create", project=PROJECT, branch="test")
    assert asked(shop, "test", "GET", "greeting") == b"hello"
    asked(shop, "test", "SET", "greeting", "bye")
    assert asked(shop, "main", "GET", "greeting") == b"hello"
    shop.call("databases.reset", project=PROJECT, name="cache", environment="test")
    assert asked(shop, "test", "GET", "greeting") == b"hello"
    url = shop.call("databases.url", project=PROJECT, name="cache", environment="test").url
    shop.call("environments.discard", project=PROJECT, branch="test")
    shop.let_pass(0.3)
    with pytest.raises(Unavailable):
        programs_line(url).__enter__()


def test_programs_are_given_its_url_and_nobody_else_reads_the_password(shop: Plane) -> None:
    url = shop.call("databases.url", project=PROJECT, name="cache").url
    password = url.partition("@")[0].removeprefix("unix://:")
    (listed,) = shop.call("databases.list", project=PROJECT)
    assert "***" in listed.url
    shown = [listed, shop.call("audit.list"), shop.call("databases.show", project=PROJECT, name="cache")]
    assert password.encode() not in msgspec.json.encode(shown)
    with shop.bough.database.read() as tx:
        found = variables_of(tx, (PROJECT, "main"), shop.bough.works.databases)
    assert found is not None and found.plain == {} and set(found.secrets) == {"CACHE_URL", "DATABASE_URL"}
    before, sealed, after = found.secrets["CACHE_URL"]
    assert before + shop.bough.works.vault.open_text(sealed) + after == url
    assert password not in sealed and msgspec.json.decode(sealed, type=Sealed).project == PROJECT


def test_a_masked_branch_is_made_and_one_with_a_policy_that_misses_is_refused(shop: Plane) -> None:
    asked(shop, "main", "HSET", "user:1", "email", "ada@example.org")
    asked_for = {"project": PROJECT, "name": "cache", "policy": "share"}
    with pytest.raises(Invalid, match="no key or field"):
        shop.call("databases.policy", **asked_for, columns={"usr:*.email": "hash"})
    shop.call("databases.policy", **asked_for, columns={"user:*.email": "hash"})
    shop.call("environments.create", project=PROJECT, branch="shared", mask="share")
    wait_until(lambda: _state(shop, "shared") != "making")
    assert _state(shop, "shared") == "ready"
    assert len(asked(shop, "shared", "HGET", "user:1", "email")) == 64
    asked(shop, "main", "DEL", "user:1")
    with pytest.raises(Invalid, match="nothing was made"):
        shop.call("environments.create", project=PROJECT, branch="again", mask="share")


def _state(plane: Plane, environment: str) -> str:
    plane.let_pass(0.1)
    return str(plane.call("databases.show", project=PROJECT, name="cache", environment=environment).state)


def test_a_server_of_ones_own_is_refused_with_what_to_do_instead(plane: Plane) -> None:
    for engine, server in (("redis", "redis://:x@somewhere/0"), ("postgres", "rediss://:x@somewhere/0")):
        with pytest.raises(Invalid) as refused:
            plane.call("databases.add", project=PROJECT, name="cache", engine=engine, server=server)
        assert refused.value.own_code == "SERVER_UNFIT" and "--rdb" in str(refused.value.hint)
    assert plane.call("databases.list", project=PROJECT) == []


def test_without_a_program_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUGH_REDIS_BIN", str(tmp_path))
    assert all("bough[redis]" in each.why_not for each in Redis(tmp_path / "a").ways())
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n")
    old.chmod(0o755)
    assert all("is 6.0, and branches need 6.2" in each.why_not for each in Redis(tmp_path / "a").ways())
    with pytest.raises(Problem, match=r"6\.0"):
        Redis(tmp_path / "a").make("copy")


def test_what_a_server_has_worked_is_counted_from_its_start_and_anew_when_it_starts_again(tmp_path: Path) -> None:
    engine = Redis(tmp_path)
    handle = engine.make("copy")
    assert engine.running("copy_there-is-none") is None
    run(engine, handle, "SET", "a", "1")
    before = engine.running(handle)
    run(engine, handle, "EVAL", "for i = 1, 5000000 do end", "0")
    after = engine.running(handle)
    assert before is not None and after is not None and before.mark == after.mark
    assert after.cpu_s > before.cpu_s and after.seconds > before.seconds >= 0.0
    engine.close(handle)
    assert engine.running(handle) is None
    run(engine, handle, "SET", "a", "2")
    again = engine.running(handle)
    assert again is not None and again.mark != before.mark and again.seconds < after.seconds
    engine.stop()
