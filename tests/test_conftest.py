"""The guard that keeps tests on this machine does its work."""

from __future__ import annotations

import socket

import pytest


def test_a_connection_to_another_machine_is_refused_at_once(loopback_only: list[str]) -> None:
    with pytest.raises(OSError, match="loopback only"):
        socket.create_connection(("192.0.2.1", 80), timeout=5)  # TEST-NET-1: nobody is there
    assert loopback_only == ["192.0.2.1:80"]
    loopback_only.clear()  # otherwise this test would fail: that is the point


def test_a_datagram_to_another_machine_is_refused_at_once(loopback_only: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, pytest.raises(OSError, match="loopback only"):
        sender.sendto(b"x", ("192.0.2.1", 9))
    loopback_only.clear()


def test_the_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
