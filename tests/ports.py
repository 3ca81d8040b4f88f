"""Ports for servers that a test starts in processes of their own."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

_FIRST = 20_000
_SIDE_BY_SIDE = 16  # test processes at most
_MINE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SIDE_BY_SIDE


def free_port() -> int:
    """Nobody listens at it, and no outgoing connection will take it before the server does: those get theirs from
    another range, from which a port that was free a moment ago is often gone. Test processes side by side look at ports
    of different remainders, so none takes what another one was just given."""
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(_FIRST + _MINE, max(outgoing, _FIRST + 1000), _SIDE_BY_SIDE)
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
