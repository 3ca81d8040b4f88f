"""Engine: starts and stops units on machines, keeps their logs and usage.

Promises, the same for every technology (tests/adapters/test_engine.py runs one body over all of them):
`snapshot` is the complete truth and the only thing decisions may rest on; `watch` is a hint that may come late, twice
or never. Nothing is restarted here: that belongs to the reconcile loop (the gateway may `wake` a unit that was asked
for and is gone, or asleep). A unit is asleep when it is registered and nothing of it runs: it costs a file. All methods
may be called from any thread and may block for as long as an HTTP call would; they raise `Unavailable` when the engine
does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from bough.runtime.spec import Exited, UnitSpec, Usage

STARTING, RUNNING, READY, STOPPING, EXITED = "starting", "running", "ready", "stopping", "exited"
ASLEEP = "asleep"
# After a wake, `sleep` is refused for so long: whoever woke the unit has this time to reach it.
WOKEN_S = 5.0


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt at running a unit, as the engine sees it now."""

    unit: str
    attempt: int  # 0: registered, and never started
    state: str  # starting, running, ready, stopping, exited, asleep
    kind: str
    labels: dict[str, str] = {}
    node: str = ""
    address: str = ""  # unix:/path or 127.0.0.1:PORT, once known: of a model replica also while it is asleep
    pid: int = 0
    started_at: float = 0.0  # by the clock as it is set now: `seconds` is what has passed, whoever sets it meanwhile
    set_s: float = 0.0  # by how much the clock was set since it began: what was said before then is so much off
    ready_at: float = 0.0
    signature: dict[str, Any] = {}  # of a model replica: frames.Signature as plain data
    exit: Exited | None = None
    gpus: float = 0.0  # how many accelerators it asks for; below 1: a share of one
    devices: list[str] = []  # and those that it has
    waits: str = ""  # for what it waits before it can start, in words
    cold: bool = False  # its model has to be loaded before it can be forked
    before: Exited | None = None  # in the answer to a wake: how the attempt before it ended, unless it was asked to

    def seconds(self, now: float) -> float:
        """How long it has been running; not what it was asked for, which may have waited for a machine."""
        return now - self.started_at if self.started_at else 0.0


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """`unit` may have changed. `cursor` goes back into `watch` to continue."""

    cursor: int
    unit: str


class LogChunk(msgspec.Struct, frozen=True, kw_only=True):
    """`data` starts at `offset` of the attempt's whole output. `offset` is larger than asked for only when rotation
    has dropped what came before."""

    offset: int
    data: bytes


class Engine(Protocol):
    def apply(self, spec: UnitSpec) -> Attempt:
        """Makes sure that this attempt runs, and renews its lease. Idempotent on (unit, attempt), whatever state the
        attempt is in: an attempt that has exited stays so. Refuses (`Conflict`, code ATTEMPT_SUPERSEDED) an attempt
        lower than one it knows; a higher one first stops the lower. Returns at once, usually in state
        starting. One that asks for accelerators waits in that state until they are free, in the order of asking; one
        that asks for more than there are ends at once (DEVICES_TOO_FEW)."""

    def stop(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        """SIGTERM, then SIGKILL to everything of the unit after `grace_s` (the spec's own when None). Returns at
        once. What was registered is dropped: no `wake` starts the unit again. Unknown, superseded or exited: does
        nothing; asleep: only drops what was registered (and the unit with it if it never ran)."""

    def register(self, spec: UnitSpec) -> Attempt:
        """Writes down what the next `wake` starts and starts nothing; `spec.attempt` does not count. A unit of which
        nothing runs is asleep from then on; one that runs is not touched. Idempotent; the latest registration, or a
        later `apply`, counts."""

    def sleep(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        """Stops the attempt as `stop` does and leaves the unit asleep, to be woken as what was registered (else as what
        ran). Refuses (`Busy`, code JUST_WOKEN) within `WOKEN_S` of a `wake`. Unknown, superseded or stopped: does
        nothing."""

    def forget(self, unit: str) -> None:
        """Drops the records, logs and registration of a unit whose every attempt has exited; does nothing otherwise."""

    def snapshot(self) -> list[Attempt]:
        """The latest attempt of every unit that it knows, exited ones (until forgotten) included."""

    def watch(self, cursor: int, timeout_s: float) -> list[Hint]:
        """Hints after `cursor`, waiting up to `timeout_s` for the first; empty when nothing came. A cursor from
        before the engine restarted gives a hint for every unit."""

    def logs(self, unit: str, attempt: int, offset: int, *, follow: bool) -> Iterator[LogChunk]:
        """Output from `offset` on, bytes exactly as written. Ends at the present end, or with `follow` when the
        attempt has exited and all is read; while following, an empty chunk may come now and then, so that a caller
        whose own reader has gone can notice. Raises `NotFound` at once for an attempt it does not know."""

    def usage(self) -> dict[str, Usage]:
        """Per `unit/attempt`, cumulative, also of exited attempts until forgotten."""

    def wake(self, unit: str) -> Attempt:
        """Starts attempt n+1 of a unit that is asleep (or still on its way there: then it begins when attempt n has
        ended), or whose attempt n has exited, or has just died, though it was never asked to stop; otherwise returns
        the present attempt. Says how the attempt before it ended, where that is known. Bounded: a unit that keeps
        failing is woken at growing intervals (`Busy`)."""

    def drain(self, node: str, deadline_s: float, reason: str) -> None:
        """Stops taking new units on `node` and stops those there within `deadline_s`."""

    def stage(self, digests: list[str]) -> None:
        """Fetches blobs ahead of use. A hint: may do nothing."""
