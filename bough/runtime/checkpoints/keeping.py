"""What a program that trains holds in its hand: `checkpoint.open()` returns `Checkpoints`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Optional, Union

import msgspec

from bough.runtime.checkpoints import (
    checking,
    code,
    interval,
    manifest,
    occupying,
    randomness,
    restoring,
    returning,
    sharded,
    trees,
)
from bough.runtime.checkpoints.arrays import Leaf
from bough.runtime.checkpoints.checking import moment
from bough.runtime.checkpoints.disk import write_whole
from bough.runtime.checkpoints.failures import SAME_AGAIN, CheckpointError
from bough.runtime.checkpoints.interval import Losses
from bough.runtime.checkpoints.manifest import Manifest
from bough.runtime.checkpoints.notice import Notice
from bough.runtime.checkpoints.pace import Pace
from bough.runtime.checkpoints.progress import Reporter
from bough.runtime.checkpoints.ranks import AHEAD, Ranks
from bough.runtime.checkpoints.records import READING
from bough.runtime.checkpoints.retention import Keep
from bough.runtime.checkpoints.returning import Migrate
from bough.runtime.checkpoints.samples import Samples
from bough.runtime.checkpoints.saving import Saver, Snapshot
from bough.runtime.checkpoints.staging import Staging
from bough.runtime.spec import Failure

FOLDER_VARIABLE, PRIOR_VARIABLE = "BOUGH_CHECKPOINTS", "BOUGH_BETWEEN_LOSSES_S"
State = Union[MutableMapping[str, Any], Callable[[], MutableMapping[str, Any]]]
COMPLAINS_EVERY_S = 60.0  # while every save fails for the same disk


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """False when there was nothing to restore; then `step` is 0."""

    step: int = 0
    state: dict[str, Any] = {}
    saved_at: float = 0.0

    def __bool__(self) -> bool:
        return self.saved_at > 0


class Checkpoints:
    """One folder of checkpoints, for one process. Its methods belong to the thread that trains."""

    def __init__(  # noqa: PLR0913, RUF100 - all of it is optional
        self, folder: str = "", *, every: Union[str, int] = "auto", keep: int = 3, keep_every: int = 0,
        version: str = "", total: int = 0, allow: Iterable[str] = (), per_rank: Iterable[str] = (), rank: int = -1,
        world: int = 0, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.folder = Path(folder or os.environ.get(FOLDER_VARIABLE) or "checkpoints").absolute()
        self._rank = int(os.environ.get("RANK", "0")) if rank < 0 else rank
        self._world = int(os.environ.get("WORLD_SIZE", "1")) if world < 1 else world
        self._version, self._allow, self._per_rank = version, frozenset(allow), frozenset(per_rank)
        self._clock = clock
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = occupying.lock(self.folder, self._rank)
        self._ranks = Ranks(self.folder, self._rank, self._world)
        self._saver = Saver(self.folder, self._rank, Keep(newest=keep, every=keep_every), self._ranks.gather)
        self._staging, self._notice = Staging(), Notice()
        self._notice.listen()
        self._history = occupying.History(self.folder, clock()) if self._rank == 0 else None
        prior_s = float(os.environ.get(PRIOR_VARIABLE) or interval.PRIOR_S)
        plan = checking.plan()
        chosen = plan.save_every if plan is not None and plan.save_every else every
        self._pace = Pace(
            interval.parse(chosen), self._history.losses if self._history else Losses(), prior_s, time.monotonic()
        )
        self._reporter = Reporter(self.folder, clock)
        self._made = 0
        self._say(total=total, saved_step=next(iter(manifest.steps(self.folder)), 0), opened_at=clock())
        self._code = code.own_files()
        self._modules = len(sys.modules)
        self._step, self._stride = 0, 1
        self._quiet_until = 0.0  # that saves fail has been said until then
        self._offered: Optional[State] = None
        self._handled = -1  # the last announced step that was saved
        self._stopping = self._closed = False

    def every(self, each: Union[str, int]) -> Checkpoints:
        """`"auto"`, a number of steps, or a time as in `"5m"`."""
        if (plan := checking.plan()) is None or not plan.save_every:
            self._pace.every = interval.parse(each)
        return self

    @property
    def step(self) -> int:
        """Steps done, as far as was said."""
        return self._step

    @property
    def interval_s(self) -> float:
        """Seconds between two saves, as chosen now."""
        return self._pace.interval_s(time.monotonic())

    @property
    def cost_s(self) -> float:
        """What a save takes from the program, as far as was seen."""
        return self._pace.cost_s

    @property
    def persist_s(self) -> float:
        """How long a copy is on its way to the disk."""
        return self._pace.persist_s

    # -- restore

    def restore(
        self, state: Optional[MutableMapping[str, Any]] = None, *, migrate: Optional[Migrate] = None
    ) -> Restored:
        """Goes back to the newest checkpoint that is whole. Objects in `state` are changed in place, values replaced;
        without it the answer's `state` has everything. Raises CHECKPOINT_CODE_CHANGED when another version of the
        program saved it and there is no `migrate`."""
        try:
            return self._restore(state, migrate)
        except CheckpointError as error:
            if error.code in SAME_AGAIN:
                refused = Failure(code=error.code, message=error.message, hint=error.hint)
                self._say(whole=True, refused=refused)
            raise

    def _restore(self, state: Optional[MutableMapping[str, Any]], migrate: Optional[Migrate]) -> Restored:
        if state is not None:
            self._staging.prepare(trees.take(state).leaves)
        found = returning.find(self.folder, self._ranks, self._saver.chunks.confirm, self._was_damaged)
        self._pace.resumed(time.monotonic())
        if found is None:
            self._say(whole=True, saved_step=0, began_at=self._clock())
            return Restored()
        about, shards = found
        allowed = self._allow | trees.packages_in(state)
        saved = returning.values(shards, self._rank, self._per_rank, allowed)
        random_state = saved.pop(randomness.NAME, None)
        if sharded.NAME in shards[0].plain:
            sharded.restore(saved, state, returning.pieces_of(self.folder, about))
        target = returning.lay_all(returning.migrated(about, self._version, saved, migrate), state)
        if random_state is not None:
            randomness.restore(trees.bare(random_state))
        self._step = about.step
        self._pace.restored(about.step, time.monotonic())
        self._say(
            whole=True, step=about.step, restored_step=about.step, saved_step=about.step, saved_at=about.at,
            began_at=self._clock(),
        )  # fmt: skip
        return Restored(step=about.step, state=dict(target), saved_at=about.at)

    # -- save

    def save(self, step: int, state: State, *, now: bool = False) -> bool:
        """`step` steps are done and this is what they came to. Saves it when it is time to, always with `now`; says
        whether it did. Returns when the state has been copied in memory; it may be changed then."""
        began = time.monotonic()
        self._stride, self._step = max(1, step - self._step), step
        self._offered = state
        self._pace.stepped(began, self._saver.busy)
        self._hear()
        if self._reporter.is_due:
            self._say(step_s=self._pace.step_s, warm_s=self._pace.warm_s, **READING.figures())
        self._made += 1
        self._say(at=self._clock(), step=step, made=self._made, samples=_samples_in(state))
        checking.step_ended(step)
        reason = "asked" if now else self._reason(step)
        if not reason:
            return False
        self._take(step, state, reason, began)
        return True

    def should_stop(self) -> bool:
        """Whether the program was told to end and what it has done is on the disk."""
        plan = checking.plan()
        if plan is not None and 0 < plan.stop_at_step <= self._step and not self._stopping:
            self._stopping = True
            self._save_last()
        if not self._stopping:
            return False
        self.flush()
        self._say(whole=True, message=f"told to end at step {self._step}; what was done until then is saved"
                  if self._reporter.now.saved_step == self._step else self._reporter.now.message)  # fmt: skip
        self._end_well()
        return True

    def steps(self, total: int, state: MutableMapping[str, Any], *, migrate: Optional[Migrate] = None) -> Iterator[int]:
        """The numbers of the steps still to do, from 0; restores first, saves and stops between them, and says that
        all is done at the end."""
        self._reporter.say(total=total)
        for step in range(self.restore(state, migrate=migrate).step, total):
            yield step
            self.save(step + 1, state)
            if self.should_stop():
                return
        self.done(state)

    def flush(self, timeout_s: Optional[float] = None) -> bool:
        """Waits for the disk; says whether the newest state that was saved is there."""
        ended = self._saver.wait(timeout_s)
        self._hear()
        return ended and not self._saver.failed

    def done(self, state: Optional[State] = None) -> None:
        """All steps are done: saves what they came to, and says so to whoever runs this program."""
        self._offered = state if state is not None else self._offered
        self._save_last()
        self.flush()
        self._say(whole=True, done=True, at=self._clock(), step_s=self._pace.step_s, **READING.figures())
        self.close()

    def export(self, name: str, path: Union[str, Path], *, step: int = 0) -> None:
        """Writes the arrays of one entry as a safetensors file; of the newest checkpoint unless a step is named."""
        about = manifest.read(manifest.place(self.folder, step or next(iter(manifest.steps(self.folder)), 0)))
        write_whole(Path(path), restoring.read_item(self.folder, about.shards[0], name))

    def beat(self, message: str = "") -> None:
        """Says that the program is alive where it makes no steps, while it evaluates for example."""
        self._say(at=self._clock(), message=message or self._reporter.now.message)

    def close(self) -> None:
        """Waits for the disk and lets go of the folder. The program may end without it, but then counts as lost."""
        if self._closed:
            return
        self._closed = True
        self._saver.wait()
        self._hear()
        self._say(whole=True)
        self._end_well()
        self._notice.stop_listening()
        os.close(self._lock)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None and not self._stopping and not self._closed:
            self.done()
        else:
            self.close()

    # -- inside

    def _reason(self, step: int) -> str:
        """Why to save now; empty: not now."""
        if self._ranks.many:
            return self._agreed_reason(step)
        if self._notice.given:
            again = self._stopping and self._saver.busy  # it was told, saved, and went on all the same
            self._stopping = True
            return "" if again or self._pace.saved_step == step else "notice"
        due = not self._saver.busy and step != self._pace.saved_step and self._pace.is_due(step, time.monotonic())
        return "interval" if due else ""

    def _agreed_reason(self, step: int) -> str:
        """As the first of the processes announced it, when the step has come."""
        wanted = self._ranks.wanted()
        if self._rank == 0 and not (wanted and (wanted.step > self._handled or wanted.stop)):
            due = not self._saver.busy and self._pace.is_due(step, time.monotonic())
            if self._notice.given or due:
                self._ranks.announce(step + AHEAD * self._stride, stop=self._notice.given)
        wanted = self._ranks.wanted()
        if wanted is None or wanted.step <= self._handled or step < wanted.step:
            return ""
        if step > wanted.step and self._clock() >= self._quiet_until:
            self._quiet_until = self._clock() + COMPLAINS_EVERY_S
            self._tell(
                f"process {self._rank} has done step {step} where all were to save step {wanted.step}, so nothing is"
                " saved: steps of all processes have to end together, as they do when gradients are averaged"
            )
        self._handled = wanted.step
        self._stopping = wanted.stop
        return "notice" if wanted.stop else "interval"

    def _take(self, step: int, state: State, reason: str, began: float) -> None:
        """The first phase, and the beginning of the second."""
        entries = state if isinstance(state, Mapping) else state()
        plain, leaves = self._apart({**entries, randomness.NAME: randomness.now()})
        moment("state taken apart")
        self._saver.wait()  # busy only when the reason cannot wait
        pieces = self._staging.copy(leaves)
        moment("copied")
        about = Manifest(
            step=step, at=self._clock(), shards=[], version=self._version, code=self._program(),
            libraries=code.libraries(), reason=reason, attempt=int(os.environ.get("BOUGH_ATTEMPT") or 0),
        )  # fmt: skip
        self._saver.begin(Snapshot(plain=msgspec.msgpack.encode(plain), pieces=pieces), about)
        ended = time.monotonic()
        self._pace.began_to_save(step, began, ended)
        self._say(
            stall_s=self._pace.stall_s, cost_s=self._pace.cost_s, interval_s=self._pace.interval_s(ended)
        )  # fmt: skip

    def _save_last(self) -> None:
        if self._offered is not None and self._pace.saved_step != self._step:
            self._take(self._step, self._offered, "end", time.monotonic())

    def _apart(self, state: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, list[Leaf]]]:
        """What this process saves: all of it, or, beside the first one, what it alone has."""
        taken = trees.take(state)
        mine = {*taken.plain} if self._rank == 0 else {*self._per_rank, randomness.NAME}
        plain = {name: msgspec.msgpack.encode(value) for name, value in taken.plain.items() if name in mine}
        leaves = {name: found for name, found in taken.leaves.items() if name in mine}
        if taken.sharded:
            pieces, about = sharded.collect(taken.sharded)
            plain[sharded.NAME] = msgspec.msgpack.encode(about)
            leaves[sharded.NAME] = pieces
        return plain, leaves

    def _program(self) -> dict[str, str]:
        """Files as they were when they were first seen: what somebody edits meanwhile is not what runs."""
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            self._code = {**code.own_files(), **self._code}
        return self._code

    def _hear(self) -> None:
        """Takes in what has become of the last save."""
        for outcome in self._saver.outcomes():
            if outcome.saved_at:
                self._pace.persisted(outcome.save_s)
                self._quiet_until = 0.0
                self._say(
                    whole=True, saved_step=outcome.step, saved_at=outcome.saved_at, save_s=outcome.save_s, message=""
                )
            else:
                self._pace.failed()
                self._complain(outcome.message)

    def _complain(self, message: str) -> None:
        """A disk that is full fails every save: the progress has the last of them, and the output one in a minute."""
        if self._clock() < self._quiet_until:
            self._say(whole=True, message=message)
            return
        self._quiet_until = self._clock() + COMPLAINS_EVERY_S
        self._tell(message)

    def _was_damaged(self, message: str) -> None:
        self._say(damaged=self._reporter.now.damaged + 1)
        self._tell(message)

    def _tell(self, message: str) -> None:
        print(f"checkpoint: {message}", file=sys.stderr, flush=True)
        self._say(whole=True, message=message)

    def _say(self, *, whole: bool = False, **changed: Any) -> None:
        if self._rank == 0:
            self._reporter.say(whole=whole, **changed)

    def _end_well(self) -> None:
        if self._history is not None:
            self._history.end(self._clock())


def _samples_in(state: State) -> int:
    """Of the first data in the state."""
    values = state.values() if isinstance(state, Mapping) else ()
    return next((value.samples for value in values if isinstance(value, Samples)), 0)
