"""What a caller is told whom no replica answers: the reasons, and how they are said."""

from __future__ import annotations

import signal

from bough.gateway import rules
from bough.gateway.models import Route
from bough.kernel.errors import Busy, Problem
from bough.runtime.spec import Exited


class NoReplica(Busy):
    """Nobody is there to answer yet: held as long and as many as may be, then told when to come back."""

    code, http_status, exit_code = "NO_REPLICA", 503, 6


class TimedOut(Problem):
    """The deadline passed before an answer came."""

    code, http_status, exit_code = "TIMEOUT", 504, 6


class ReplicaLost(Problem):
    """The replica died with the request, which may not be sent again."""

    code, http_status, exit_code = "REPLICA_LOST", 502, 6


def is_refusal(problem: Problem) -> bool:
    """Whether the request was turned away, so that its time says nothing of the service. One that was taken in and not
    answered is none: a service would be the faster, the more it fails."""
    return not isinstance(problem, TimedOut | ReplicaLost)


def timed_out(route: Route, *, sent: bool, served: bool) -> Problem:
    """Of a request that was `sent` to a replica or not; `served`: replicas are there."""
    if not sent and not served:
        return NoReplica(
            f"no replica of {route.service} came up within {route.timeout_s:g} s",
            hint=f"bough logs {route.service}", retry_after_s=rules.COME_BACK_S,
        )  # fmt: skip
    where = "at the replica" if sent else "waiting in the queue"
    return TimedOut(
        f"{route.service} did not answer within {route.timeout_s:g} s (the request was {where})",
        hint=f"raise timeout_s of services.{route.service} in bough.toml, or add replicas",
    )


def absent(route: Route, waiting: int) -> Busy:
    """Nobody is there yet, and as many wait as may."""
    return NoReplica(
        f"{route.service} is being started, and {waiting} requests wait for it already",
        hint="come back after Retry-After seconds; or raise queue_size", retry_after_s=rules.COME_BACK_S,
    )  # fmt: skip


def full(route: Route, waiting: int, per_second: float) -> Busy:
    """`per_second`: how many leave the queue."""
    return Busy(
        f"{route.service} has {waiting} requests waiting and takes no more",
        code="QUEUE_FULL", hint="come back after Retry-After seconds; or raise replicas or queue_size",
        retry_after_s=float(rules.retry_after_s(waiting, per_second)),
    )  # fmt: skip


def lost(route: Route, attempts: int, ended: Exited | None) -> Problem:
    """`ended`: how the last one did, where that is known. Of it callers, who may be anybody, hear no more than what
    `how_it_ended` says."""
    if attempts > 1:
        said = f"two replicas of {route.service}, one after the other, died while they had the request"
        said += f"; the second {how_it_ended(ended)}" if ended else ""
    else:
        said = f"the replica of {route.service} died while it had the request, which may not be sent again"
        said += f" (idempotent = false); it {how_it_ended(ended)}" if ended else " (idempotent = false)"
    return ReplicaLost(said, hint=f"bough logs {route.service}")


def parted(route: Route, ended: Exited | None) -> Problem:
    """A web service's connection ended before it was answered on; `ended`: with its process, and how."""
    if ended is None:
        said = f"{route.service} closed the connection before it answered"
    else:
        said = f"the process of {route.service} {how_it_ended(ended)} before it answered"
    return ReplicaLost(said, hint=f"bough logs {route.service}")


def how_it_ended(ended: Exited) -> str:
    """In words, without what its code said of itself, which may name anything."""
    if ended.reason == "memory":
        return "took more memory than it may (memory_mb)"
    if ended.reason == "lost":
        return "went away without a word"
    if ended.code >= 0:
        return f"exited with status {ended.code}"
    try:
        return f"was killed by {signal.Signals(-ended.code).name}"
    except ValueError:  # of real time
        return f"was killed by signal {-ended.code}"
