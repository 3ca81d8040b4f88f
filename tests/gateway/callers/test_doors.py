"""From where a service may be asked: addresses, networks, TLS."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from bough.gateway.callers.doors import AddressRefused, Door, TlsRequired

from ..conftest import Replica, Running, route
from ..http.test_tls import connect, secure
from ..queues.test_queues import queue
from ..test_serving import code

__all__ = ["secure"]
Make = Callable[..., Replica]
NETWORKS = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("address", "may"),
    [
        (b"10.1.2.3", True), (b"192.0.2.7", True), (b"192.0.2.8", False), (b"2001:db8::1", True), (b"::1", False),
        (b"::ffff:10.0.0.1", True), (b"127.0.0.1", False), (b"unix", False), (b"nonsense", False), (b"\xff", False),
    ],
)  # fmt: skip
def test_addresses_inside_may_call_and_nobody_else(address: bytes, may: bool) -> None:
    door = Door(route(allow=NETWORKS), b"", False)
    for _ in range(2):  # the second time from memory
        if may:
            door.check(address, False)
        else:
            with pytest.raises(AddressRefused):
                door.check(address, False)


def test_what_a_proxy_says_is_believed_on_this_machine_only() -> None:
    door = Door(route(allow=NETWORKS, tls_required=True), b"10.0.0.1", True)
    door.check(b"127.0.0.1", False)
    with pytest.raises(AddressRefused):
        door.check(b"203.0.113.9", False)
    with pytest.raises(TlsRequired):
        Door(route(tls_required=True), b"", True).check(b"203.0.113.9", False)
    Door(route(tls_required=True), b"", False).check(b"203.0.113.9", True)


def refused(answer: tuple[int, dict[str, str], bytes]) -> str:
    assert answer[0] == 403
    return code(answer[2])


def test_a_service_answers_whom_it_is_for(gateway: Running, replicas: Make) -> None:
    model = replicas()
    gateway.start(routes=[route("churn", model, allow=NETWORKS), route("open", replicas("u2"))])
    gateway.until_up("dep-churn")
    assert refused(gateway.post("churn", 1)) == "ADDRESS_REFUSED"
    assert b"ADDRESS_REFUSED" in gateway.request("GET", "/v2/models/churn")[2]
    inside = {"X_Forwarded_For": "203.0.113.5, 10.2.3.4"}  # the proxy has added the last one
    for _ in range(3):  # parsed, then known by its head
        assert gateway.post("churn", 1, **inside)[0] == 200
    assert gateway.post("churn", 1, X_Forwarded_For="10.2.3.4, 203.0.113.5")[0] == 403
    assert gateway.post("open", 1)[0] == 200
    assert sum(map(len, model.frames)) == 3  # what is refused never reaches the model


def test_another_door_counts_at_once(gateway: Running, replicas: Make) -> None:
    model = replicas()
    gateway.start(routes=[route("churn", model, allow=["127.0.0.1"])])
    for _ in range(3):
        assert gateway.post("churn", 1)[0] == 200
    gateway.apply([route("churn", model, allow=["192.0.2.0/24"])])
    assert gateway.post("churn", 1)[0] == 403


def test_plain_http_is_refused_where_tls_is_required(secure: Running, replicas: Make) -> None:
    secure.start(routes=[route("churn", replicas(), tls_required=True)])
    for _ in range(2):
        assert refused(secure.post("churn", 1)) == "TLS_REQUIRED"
        assert secure.post("churn", 1, X_Forwarded_Proto="https")[0] == 200
    with connect(secure) as connection:
        connection.request("POST", "/v1/churn/predict", b"1")
        assert connection.getresponse().status == 200


def test_a_queue_stands_behind_its_handlers_door(gateway: Running, replicas: Make) -> None:
    gateway.queues = [msgspec.structs.replace(queue(), allow=["10.0.0.0/8"])]
    gateway.start(routes=[route("churn", replicas())])
    assert refused(gateway.request("POST", "/queues/documents", b"1")) == "ADDRESS_REFUSED"
    assert refused(gateway.request("GET", "/queues/documents")) == "ADDRESS_REFUSED"
    assert gateway.request("POST", "/queues/documents", b"1", X_Forwarded_For="10.0.0.1")[0] == 202
