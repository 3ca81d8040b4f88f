"""Is a web unit ready? It is when `GET path` answers below 500; an open port alone says nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.005, 0.25
_ANSWER_TIMEOUT_S = 2.0


def probe(port: int, path: str, timeout_s: float = _ANSWER_TIMEOUT_S) -> str:
    """Empty when healthy, otherwise what was seen instead."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: bough-health\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.sendall(request.encode())
            line = b""
            while b"\n" not in line and (part := connection.recv(4096)):
                line += part
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except OSError as error:
        return error.strerror or str(error)
    words = line.split(b"\r\n")[0].split(b" ")
    if len(words) < 2 or not words[0].startswith(b"HTTP/1") or not words[1].isdigit():
        return "the answer is not HTTP"
    return "" if int(words[1]) < 500 else f"it answered {words[1].decode()}"


def await_health(port: int, path: str, go_on: Callable[[float, str], bool]) -> bool:
    """Asks at growing intervals until healthy. Before each pause `go_on(pause_s, seen)` waits and says whether to
    ask again."""
    pause_s = _FIRST_PAUSE_S
    while seen := probe(port, path):
        if not go_on(pause_s, seen):
            return False
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    return True
