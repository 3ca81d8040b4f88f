"""A request whose replica died with it: what its caller hears of how, and what the log keeps."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable

import pytest

from bough.gateway.lanes import refusals
from bough.runtime.frames import Reply, Request
from bough.runtime.spec import Exited

from ..conftest import Replica, Running, route
from .test_sleeping_lane import Nodes, node

__all__ = ["node"]  # a fixture


@pytest.mark.parametrize(
    ("code", "reason", "said"),
    [
        (-9, "killed", "was killed by SIGKILL"),
        (-11, "killed", "was killed by SIGSEGV"),
        (-63, "killed", "was killed by signal 63"),
        (3, "exited", "exited with status 3"),
        (0, "exited", "exited with status 0"),
        (-9, "memory", "took more memory than it may (memory_mb)"),
        (-9, "lost", "went away without a word"),
    ],
)
def test_how_a_replica_ended_is_said_in_words(code: int, reason: str, said: str) -> None:
    assert refusals.how_it_ended(Exited(code=code, reason=reason, at=0.0)) == said


@pytest.mark.parametrize(("idempotent", "died"), [(True, "the second was killed by"), (False, "it was killed by")])
def test_a_caller_hears_how_and_the_log_everything(
    gateway: Running, replicas: Callable[..., Replica], node: Nodes, caplog: pytest.LogCaptureFixture,
    idempotent: bool, died: str,
) -> None:  # fmt: skip
    made: list[Replica] = []

    def die(request: Request) -> list[Reply]:
        victim = next(each for each in made if not each.dead and any(request in frame for frame in each.frames))
        threading.Thread(target=victim.kill).start()
        return []

    failure = {"code": "LOAD_FAILED", "message": "password hunter2 refused", "hint": ""}
    before = {"code": -11, "reason": "killed", "at": 1.0, "failure": failure}
    node(lambda unit: (200, {"unit": unit, "attempt": 2, "state": "starting", "before": before}))
    made += [replicas(f"u{number}", die) for number in range(3)]
    gateway.start(routes=[route("churn", *made, idempotent=idempotent)])
    gateway.until_up("dep-churn", 3)
    with caplog.at_level(logging.WARNING, "bough.gateway"):
        status, _, body = gateway.post("churn", {})
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (502, "REPLICA_LOST")
    assert f"{died} SIGSEGV" in error["message"]
    assert b"hunter2" not in body
    (logged,) = [each.getMessage() for each in caplog.records if "not sent again" in each.getMessage()]
    assert "of shop/main/churn died with 1 requests" in logged and "hunter2" in logged
