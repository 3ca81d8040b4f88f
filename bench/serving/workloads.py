"""The requests of each workload, and whether a peer's answers are right."""

from __future__ import annotations

import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import load
from errors import CannotRun
from peers import Peer, Setup

WORKLOADS = ("noop", "logistic", "minilm", "stream")
_TOKEN = re.compile(rb"tok\d+")


class Case(NamedTuple):
    request: dict[str, Any]
    answer: Any


def cases(data: Path, workload: str) -> list[Case]:
    return [Case(**case) for case in json.loads((data / "cases.json").read_text())[workload]]


def bodies(peer: Peer, setup: Setup) -> list[bytes]:
    return [
        json.dumps(peer.wrap(setup, case.request), separators=(",", ":")).encode()
        for case in cases(setup.data, setup.workload)
    ]


def verify(peer: Peer, setup: Setup, clients: int = 16, rounds: int = 4) -> None:
    """Every request several times from many clients at once; raises when any answer is not the one it should be."""
    if peer.is_static:
        return
    path, key, prepared = peer.path(setup), peer.key(setup), bodies(peer, setup)
    known = cases(setup.data, setup.workload)

    def ask(number: int) -> str:
        case = known[number % len(known)]
        status, answer = load.post(setup.port, path, prepared[number % len(known)], key)
        if status >= 300:
            return f"status {status}: {answer[:200]!r}"
        if setup.workload == "stream":
            got: Any = [token.decode() for token in _TOKEN.findall(answer)]
        else:
            got = peer.unwrap(setup, json.loads(answer))
        return "" if _equal(got, case.answer) else f"answered {str(got)[:120]}, not {str(case.answer)[:120]}"

    with ThreadPoolExecutor(clients) as pool:
        wrong = list(filter(None, pool.map(ask, range(len(known) * rounds))))
    if wrong:
        raise CannotRun(f"{len(wrong)} of {len(known) * rounds} answers are wrong: {wrong[0]}")


def _equal(got: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return isinstance(got, dict) and all(_equal(got.get(key), value) for key, value in expected.items())
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(_equal, got, expected))
    if isinstance(expected, float):
        return isinstance(got, int | float) and math.isclose(got, expected, rel_tol=1e-4, abs_tol=1e-4)
    return bool(got == expected)
