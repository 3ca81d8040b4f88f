"""What two deployments have answered to the same request, as lines of a file: written by the gateway for a mirror and
by a replay's process, read by whoever makes a report of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

MOST_DIFFERENCES = 20  # of one pair of answers
LONGEST = 200  # characters of a text in a difference
_MISSING = "(absent)"


class Answered(msgspec.Struct, frozen=True):
    """One side. `status` is 0 where no answer came; `seconds` are from the request's arrival to the whole answer."""

    status: int
    seconds: float


class AnswerDifference(msgspec.Struct, frozen=True):
    """`path` leads into the answer, as `.scores[2]`."""

    path: str
    source: Any
    target: Any


class Pair(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="pair"):
    at: float
    id: str
    service: str
    source: Answered
    target: Answered
    same: bool
    differences: list[AnswerDifference] = []


class Passed(msgspec.Struct, frozen=True, kw_only=True, tag="passed"):
    """How many requests a mirror has seen in one life of the gateway: the last line of a life counts."""

    life: str
    service: str
    seen: int
    copied: int
    left_out: int


Line = Pair | Passed
_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


def encode(line: Line) -> bytes:
    return _encoder.encode(line) + b"\n"


def read(path: Path) -> Iterator[Line]:
    """Lines that are whole; the last one may still be on its way."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if line.endswith(b"\n"):
                try:
                    yield _decoder.decode(line)
                except msgspec.DecodeError:  # cut off by a full disk
                    continue


def paired(
    at: float, id: str, service: str, source: tuple[Answered, bytes], target: tuple[Answered, bytes], tolerance: float
) -> Pair:
    """Statuses first: what answers say is compared where both have answered well."""
    found: list[AnswerDifference] = []
    if source[0].status != target[0].status:
        found = [AnswerDifference("status", source[0].status, target[0].status)]
    elif source[0].status < 400:
        found = compare(source[1], target[1], tolerance)
    return Pair(at=at, id=id, service=service, source=source[0], target=target[0], same=not found, differences=found)


def compare(source: bytes, target: bytes, tolerance: float) -> list[AnswerDifference]:
    """Where two answers differ; numbers do when they are further apart than `tolerance` times the larger one, or than
    `tolerance` itself where both are below 1."""
    if source == target:
        return []
    try:
        one, other = msgspec.json.decode(source), msgspec.json.decode(target)
    except msgspec.DecodeError:
        return [AnswerDifference("", _digest(source), _digest(target))]
    found: list[AnswerDifference] = []
    _walk("", one, other, tolerance, found)
    return found


def _digest(body: bytes) -> str:
    return f"{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()[:16]}"


def _walk(path: str, one: Any, other: Any, tolerance: float, found: list[AnswerDifference]) -> None:
    if len(found) >= MOST_DIFFERENCES:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            _walk(f"{path}.{key}", one.get(key, _MISSING), other.get(key, _MISSING), tolerance, found)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, (left, right) in enumerate(zip(one, other, strict=True)):
            _walk(f"{path}[{at}]", left, right, tolerance, found)
    elif _is_number(one) and _is_number(other):
        if not math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance):
            found.append(AnswerDifference(path, one, other))
    elif one != other or type(one) is not type(other):
        found.append(AnswerDifference(path, _short(one), _short(other)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else None
    if isinstance(value, dict | list):
        text = msgspec.json.encode(value).decode()
    return value if text is None or len(text) <= LONGEST else text[:LONGEST] + "…"
