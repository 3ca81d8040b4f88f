"""Replicas of the warm pool take no traffic until those that answer do not keep up; and what is held is bounded."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import msgspec
import pytest

from bough.gateway import rules
from bough.gateway.models import Target
from bough.runtime.frames import Reply, Request

from ..conftest import Replica, Running, route
from .test_sleeping_lane import Nodes, node, sleeper

Make = Callable[..., Replica]
__all__ = ["node"]


def warm(replica: Replica) -> Target:
    return msgspec.structs.replace(replica.target(), warm=True)


def slowly(request: Request) -> list[Reply]:
    time.sleep(0.05)
    return [Reply(request.id, 200, request.body)]


def ask_at_once(gateway: Running, count: int) -> list[int]:
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(gateway.post("churn", 1)[0])) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    return statuses


def test_a_pool_replica_is_connected_and_gets_no_work_while_the_others_keep_up(
    gateway: Running, replicas: Make
) -> None:
    first, spare = replicas("u1"), replicas("u2")
    gateway.start(routes=[route("churn", targets=[first.target(), warm(spare)])])
    gateway.until_up("dep-churn")
    gateway.wait(lambda: spare.connections)
    for number in range(50):
        assert gateway.post("churn", number)[0] == 200
    assert (len(first.frames), len(spare.frames), gateway.lane("dep-churn").get("taken", 0)) == (50, 0, 0)
    assert gateway.lane("dep-churn")["links"] == 1


def test_the_connection_of_the_pool_is_the_one_that_a_first_request_takes(gateway: Running, replicas: Make) -> None:
    spare = replicas("u1")
    gateway.start(routes=[route("churn", targets=[warm(spare)])])
    gateway.wait(lambda: spare.connections)
    assert gateway.post("churn", 1)[0] == 200
    assert (spare.connections, gateway.lane("dep-churn")["taken"]) == (1, 1)
    gateway.apply([route("churn", targets=[spare.target()])])  # what it was taken for is what the table wants now
    assert gateway.post("churn", 2)[0] == 200
    assert (spare.connections, gateway.lane("dep-churn")["links"]) == (1, 1)


def test_it_is_taken_as_soon_as_they_do_not_and_goes_back_when_they_do(
    gateway: Running, replicas: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "GIVE_BACK_S", 0.5)  # a constant of the rule: nobody waits for five seconds here
    first, spare = replicas("u1", slowly, mode="item"), replicas("u2", slowly, mode="item")
    gateway.start(routes=[route("churn", targets=[first.target(), warm(spare)])])
    gateway.until_up("dep-churn")
    assert gateway.post("churn", 0)[0] == 200
    assert ask_at_once(gateway, 20) == [200] * 20
    assert spare.frames and gateway.lane("dep-churn")["links"] == 2
    gateway.wait(lambda: gateway.lane("dep-churn").get("taken", 0) == 0 and gateway.lane("dep-churn")["links"] == 1)
    gateway.wait(lambda: spare.connections == 2)  # ready to be taken again
    assert 'kind="pool"' in gateway.request("GET", "/metrics")[2].decode()


def test_it_answers_when_nobody_else_is_there(gateway: Running, replicas: Make) -> None:
    first, spare = replicas("u1"), replicas("u2")
    gateway.start(routes=[route("churn", targets=[first.target(), warm(spare)])])
    gateway.until_up("dep-churn")
    first.kill()
    assert gateway.post("churn", 1)[0] == 200
    assert spare.frames


def test_one_that_becomes_active_by_the_table_is_connected_and_one_that_is_put_back_finishes_what_it_has(
    gateway: Running, replicas: Make
) -> None:
    first, second = replicas("u1"), replicas("u2")
    gateway.start(routes=[route("churn", targets=[first.target(), warm(second)])])
    gateway.until_up("dep-churn")
    gateway.wait(lambda: second.connections)
    gateway.apply([route("churn", targets=[first.target(), second.target()])])
    gateway.until_up("dep-churn", 2)
    assert second.connections == 1
    first.gate.clear()
    second.gate.clear()
    statuses: list[int] = []
    asking = threading.Thread(target=lambda: statuses.extend(ask_at_once(gateway, 2)))
    asking.start()
    gateway.wait(lambda: first.frames and second.frames)
    gateway.apply([route("churn", targets=[first.target(), warm(second)])])
    second.gate.set()
    first.gate.set()
    asking.join(60)
    assert statuses == [200, 200]
    gateway.wait(lambda: gateway.lane("dep-churn")["links"] == 1)


def test_counters_say_what_came_what_was_begun_late_and_how_long_replicas_were_busy(
    gateway: Running, replicas: Make
) -> None:
    only = replicas("u1", slowly, mode="item")
    gateway.start(routes=[route("churn", only, wait_s=0.1)])
    gateway.until_up("dep-churn")
    assert ask_at_once(gateway, 10) == [200] * 10
    lane = gateway.lane("dep-churn")
    assert (lane["arrived"], lane["begun"], lane["answered"]) == (10, 10, 10)
    assert lane["late"] >= 3 and lane["busy_s"] > 0.45


CALLERS = """
import json, resource, selectors, socket, sys
port, count, size = map(int, sys.argv[1:])
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
body = json.dumps("x" * size).encode()
request = b"POST /v1/churn/predict HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body
waiting, found = selectors.DefaultSelector(), {}
for _ in range(count):
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(request)
    waiting.register(connection, selectors.EVENT_READ)
while waiting.get_map():
    for key, _ in waiting.select(60.0):
        data = key.fileobj.recv(4096)
        status = data[9:12].decode() if b"\\r\\nRetry-After: 5" in data else data[:500].decode()
        found[status] = found.get(status, 0) + 1
        waiting.unregister(key.fileobj)
print(json.dumps(found))
"""


def test_ten_thousand_held_requests_are_each_told_when_to_come_back_and_memory_stays_bounded(
    gateway: Running, node: Nodes
) -> None:
    """A service that never wakes: what is held is refused at the deadline, what finds no room at once."""
    count, size = 10_000, 16 << 10  # a file each: the callers are another process
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if limit < 12_000:
        pytest.skip("this machine allows too few open files")
    node(lambda unit: (404, {}))
    gateway.start(routes=[sleeper(timeout_s=8.0, queue_size=8000)])
    before, most, found = _resident_mb(), 0, ""
    command = [sys.executable, "-c", CALLERS, str(gateway.port), str(count), str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as callers:
        while callers.poll() is None:
            most = max(most, _resident_mb())
            time.sleep(0.05)
        assert callers.stdout is not None
        found = callers.stdout.read()
    assert json.loads(found) == {"503": count}
    assert most - before < 2 * (rules.HELD_BYTES >> 20) + 200
    assert gateway.lane("dep-churn")["queued"] == 0


def _resident_mb() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - a line of the kernel's
        return int(file.read().split()[1]) * 4096 >> 20
