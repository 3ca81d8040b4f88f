"""What `bough check resume` and the tests of survival ask of a program that saves: to be interrupted at chosen places.

A program that is checked finds a plan in BOUGH_RESUME_CHECK: at which of its steps, or at which of the moments at
which a kill would hurt most (between two chunks, before the manifest, while restoring), it is to end without a word or
to be told that it will; how many steps are enough; where to write down in which order its samples came. Without the
variable all of this is one comparison."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any, Optional

import msgspec

VARIABLE = "BOUGH_RESUME_CHECK"


class Interruptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """For one start of the program."""

    kill_at_step: int = 0
    kill_at_moment: int = 0  # counted from 1
    notice_at_step: int = 0
    stop_at_step: int = 0  # as if the program had no more to do
    trace: str = ""  # a file to which each step's samples are added
    save_every: int = 0  # steps; 0 leaves the interval to the program


class Unreported:
    """Stands for the run of a program that is being checked: takes whatever is logged and keeps none of it."""

    id = name = project = ""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

    def __enter__(self) -> Unreported:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


class _Watch:
    def __init__(self) -> None:
        self.plan: Optional[Interruptions] = None
        self.moments = 0
        self.samples = ""
        with contextlib.suppress(msgspec.DecodeError):
            if text := os.environ.get(VARIABLE):
                self.plan = msgspec.json.decode(text.encode(), type=Interruptions)


_watch: Optional[_Watch] = None


def plan() -> Optional[Interruptions]:
    """Read once, when it is first asked for."""
    global _watch
    if _watch is None:
        _watch = _Watch()
    return _watch.plan


def moment(name: str) -> None:
    """A place at which a kill would hurt; `name` is for whoever reads the code."""
    wanted = plan()
    if wanted is None or _watch is None:
        return
    _watch.moments += 1
    if _watch.moments == wanted.kill_at_moment:
        os.kill(os.getpid(), signal.SIGKILL)


def samples_taken(digest: str) -> None:
    """What the data gave for the step that is under way."""
    if plan() is not None and _watch is not None:
        _watch.samples += digest


def step_ended(step: int) -> None:
    """Writes down the step's samples, then does to the program what was planned for here."""
    wanted = plan()
    if wanted is None or _watch is None:
        return
    if wanted.trace:
        line: dict[str, Any] = {"step": step, "samples": _watch.samples}
        descriptor = os.open(wanted.trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, msgspec.json.encode(line) + b"\n")
        os.close(descriptor)
    _watch.samples = ""
    if step == wanted.notice_at_step:
        os.kill(os.getpid(), signal.SIGTERM)
    if step == wanted.kill_at_step:
        os.kill(os.getpid(), signal.SIGKILL)
