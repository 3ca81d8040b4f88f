"""The engine over HTTP on a node's Unix socket: bodies of requests, and how output travels.

    POST /apply UnitSpec -> Attempt      POST /stop Stop      POST /forget Unit     POST /wake Unit -> Attempt
    POST /register UnitSpec -> Attempt   POST /sleep Stop
    POST /drain Drain                    POST /stage Stage    GET /snapshot -> [Attempt]
    GET /usage -> {unit/attempt: Usage}  GET /watch?cursor=&timeout_s= -> [Hint]    GET /healthz -> NodeState
    GET /logs?unit=&attempt=&offset=&follow=0|1 -> chunks, each `CHUNK_HEAD` (offset, length) and that many bytes

Errors are `{"error": Detail}` under the status of their class. Every verb may be repeated, so a caller that got no
answer asks again.
"""

from __future__ import annotations

import struct

import msgspec

from bough.kernel.errors import Detail

CHUNK_HEAD = struct.Struct("<QI")
MAX_BODY_BYTES = 16 << 20
LONGEST_WATCH_S = 60.0


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    unit: str


class Stop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    unit: str
    attempt: int
    grace_s: float | None = None


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    node: str
    deadline_s: float
    reason: str


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    digests: list[str]


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """Also `run/node.json`. `starttime` and `boot` as in `spec.Started`."""

    node: str
    pid: int
    starttime: int
    started_at: float
    boot: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    error: Detail
