"""The SDK as a program sees it, in one process with the operations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.engine.fake import FakeEngine
from bough.app import Bough
from bough.client import Client, connect
from bough.client.inprocess import InProcess
from bough.kernel.clock import VirtualClock
from bough.kernel.context import Principal, Role
from bough.kernel.errors import Forbidden, NotFound, Unauthenticated
from bough.kernel.platform import Platform
from tests.plane import laid


@pytest.fixture
def bough(tmp_path: Path) -> Any:
    clock = VirtualClock()
    made = Bough(laid(tmp_path / "home"), Platform(), durable=False, engine=FakeEngine(clock), clock=clock)
    yield made
    made.stop()


def client(bough: Bough, role: Role = Role.ADMIN) -> Client:
    return Client(transport=InProcess(bough.operations, Principal(id="p", name="ada", role=role), bough.blobs))


def test_in_process_answers_are_those_of_http(bough: Bough) -> None:
    made = client(bough).principals.create(name="eve", role="viewer")
    assert made == {"id": made.id, "name": "eve", "role": "viewer", "created_at": made.created_at}
    assert [each.name for each in client(bough).principals.list()] == ["eve"]


def test_in_process_errors_are_those_of_the_operation(bough: Bough) -> None:
    with pytest.raises(Forbidden):
        client(bough, Role.VIEWER).principals.create(name="eve", role="viewer")
    with pytest.raises(NotFound):
        list(client(bough).releases.follow(id="rel_x"))


def test_in_process_writes_happen_once_for_a_key(bough: Bough) -> None:
    for _ in range(2):
        client(bough).principals.create(name="eve", role="viewer", idempotency_key="once")
    assert len(client(bough).principals.list()) == 1


def test_what_is_uploaded_is_no_longer_missing(bough: Bough) -> None:
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    with client(bough) as made:
        assert made.blobs.missing(digests=[digest]) == [digest]
        made.put(b"hello", digest)
        assert made.blobs.missing(digests=[digest]) == []


def test_help_and_completion_come_from_the_contract(bough: Bough) -> None:
    made: Any = client(bough)
    assert {"releases", "whoami", "tokens"} <= set(dir(made))
    assert {"create", "list", "rollback"} <= set(dir(made.releases))
    assert made.releases.rollback.__doc__.startswith("Returns to an earlier release")


def test_connect_says_what_to_do_where_bough_never_ran(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated) as caught:
        connect(tmp_path)
    assert (caught.value.own_code, caught.value.hint) == ("NOT_STARTED", "bough up")


def test_importing_the_sdk_loads_no_server_library() -> None:
    code = (
        "import sys, bough.client; unwanted = {'sqlalchemy', 'starlette', 'uvicorn', 'asyncio', 'click', 'alembic'};"
        "sys.exit(', '.join(sorted(unwanted & sys.modules.keys())) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
