"""Who does not look each second is told when somebody asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from ..conftest import Replica, Running, echo, route

Make = Callable[..., Replica]


def listen(gateway: Running, timeout_s: float, **arrived: int) -> Any:
    body = json.dumps({"arrived": arrived, "timeout_s": timeout_s}).encode()
    return gateway.control("POST", "/listen", body).get("asked")


def test_the_first_request_after_a_silence_is_told_and_nothing_else_is(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas("u1", echo), deployment="dep"), route("other", replicas("u2", echo))])
    gateway.until_up("dep")
    assert listen(gateway, 0.0, dep=0) is False
    heard: list[bool] = []
    listener = threading.Thread(target=lambda: heard.append(listen(gateway, 60.0, dep=0)))
    listener.start()
    assert gateway.post("other", 1)[0] == 200
    assert listen(gateway, 0.0, dep=0) is False, "somebody else was asked"
    assert gateway.post("churn", 1)[0] == 200
    listener.join(60)
    assert heard == [True]
    assert listen(gateway, 60.0, dep=0) is True, "it is known already"
    assert listen(gateway, 0.0, dep=1) is False


def test_what_is_no_silence_is_refused(gateway: Running) -> None:
    gateway.start()
    assert gateway.control("POST", "/listen", b"{}")["error"]["code"] == "QUESTION_INVALID"
