"""What a job promises that runs on capacity which may be taken away, tried on the program itself.

    uses        it calls `bough.checkpoint`, restores before its loop and asks whether to stop
    seeded      it sets the seeds of the libraries that it draws from
    runs        it comes to an end by itself, or to as many steps as are wanted
    saves       it leaves a complete checkpoint
    stops       told to end at a step, it ends well, and that step is saved
    restores    killed at random steps and in the middle of saving, it goes on from a checkpoint
    samples     what its data gives, step by step, is what it would have been without an interruption
    weights     so is everything that it saves at the end, bit by bit

The first two are read from its files, the others are seen: the program runs once undisturbed and once interrupted. When
the two differ it runs undisturbed again: a program that never does the same thing twice cannot be judged, and is told
so. What could not be shown is `unproven`.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bough.builds.contract import BROKEN, KEPT, UNPROVEN, Promise
from bough.kernel.errors import WorkloadFailed
from bough.runtime.checkpoints import manifest, randomness, restoring
from bough.runtime.checkpoints.checking import VARIABLE, Interruptions
from bough.runtime.checkpoints.failures import CheckpointError
from bough.runtime.checkpoints.progress import read_progress

_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
_LEFT = 4  # steps after an interruption, so that it shows who goes on
_MOMENTS = 30  # of the first saves: a kill at one of them is in the middle of something
_TAIL_LINES = 5
_DOCS = "docs/checkpoints.md has an example"


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, how long and how often to interrupt it. `environment` without what is told about checkpoints."""

    argv: list[str]
    cwd: str
    environment: dict[str, str]
    steps: int = 20
    interruptions: int = 5
    seed: int = 0
    timeout_s: float = 600.0  # of one start


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One start of the program."""

    status: int
    output: str
    restored: int
    step: int  # that it came to, as far as was said
    saved: int


class Broken(Exception):
    """A promise that was not kept ends the trial."""

    def __init__(self, promise: str, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.promise = Promise(name=promise, state=BROKEN, detail=detail, hint=hint)


def check(trial: Trial, tell: Callable[[str], None]) -> list[Promise]:
    """The promises from `runs` on, as far as they could be tried."""
    kept: list[Promise] = []
    with tempfile.TemporaryDirectory(prefix="bough-resume-") as place:
        try:
            _try(trial, Path(place), tell, kept)
        except Broken as broken:
            kept.append(broken.promise)
    return kept


def _try(trial: Trial, place: Path, tell: Callable[[str], None], kept: list[Promise]) -> None:
    whole = _Place(trial, place / "whole")
    tell(f"undisturbed, up to {trial.steps} steps")
    ended = whole.start(stop_at_step=trial.steps)
    last = _check_runs(whole, ended, kept)
    chance, cut = random.Random(trial.seed), _Place(trial, place / "cut")  # noqa: S311 - places to interrupt
    _interrupt(cut, last, chance, tell, kept)
    if manifest.steps(cut.folder)[:1] != [last]:
        tell("to the end")
        ended = cut.start(stop_at_step=trial.steps)
        if ended.status:
            raise Broken("restores", f"after the interruptions it {_how(ended)}")
    samples = _compared_samples(whole, cut, last)
    kept.append(samples)
    differing = differences(whole.folder, cut.folder)
    if not differing:
        kept.append(Promise(name="weights", state=KEPT, detail=f"equal at step {last}, bit by bit"))
        return
    tell("undisturbed again, because the results differ")
    again = _Place(trial, place / "again")
    again.start(stop_at_step=trial.steps)
    what = ", ".join(differing[:_TAIL_LINES])
    if unstable := differences(whole.folder, again.folder):
        raise Broken(
            "weights", f"two undisturbed runs differ from each other in {', '.join(unstable[:_TAIL_LINES])}",
            "set every seed (random, numpy, torch, random_state), keep times and paths out of the state, and read"
            " nothing that an earlier start has written elsewhere than into $BOUGH_CHECKPOINTS",
        )  # fmt: skip
    data = "" if samples.state == KEPT else "where it is in its data (checkpoint.Samples), "
    raise Broken(
        "weights", f"after interruptions it differs in {what}",
        f"put into the state what this depends on: {data}generators of its own (numpy.random.default_rng), averages;"
        ' as in state = {…, "rng": rng}',
    )  # fmt: skip


def _check_runs(whole: _Place, ended: Ended, kept: list[Promise]) -> int:
    if ended.status:
        raise Broken("runs", f"undisturbed it {_how(ended)}")
    kept.append(Promise(name="runs", state=KEPT, detail=f"{whole.steps[-1] if whole.steps else 0} steps"))
    if not whole.steps:
        raise Broken("saves", "it never called save()", _DOCS)
    last = whole.steps[-1]
    if not manifest.steps(whole.folder) or manifest.steps(whole.folder)[0] != last:
        raise Broken("saves", f"step {last}, its last one, was not saved", "call done() or should_stop(); " + _DOCS)
    kept.append(Promise(name="saves", state=KEPT, detail=_size(whole.folder)))
    return last


def _interrupt(cut: _Place, last: int, chance: random.Random, tell: Callable[[str], None], kept: list[Promise]) -> None:
    """By turns without a word and with notice, at random steps, and once in the middle of a save."""
    restored, noticed = 0, 0
    for number in range(cut.trial.interruptions):
        begins = next(iter(manifest.steps(cut.folder)), 0) + 1
        if begins >= last:
            break  # the last step is for the end: a start from it would make one more
        at = chance.randint(begins, max(begins, last - _LEFT))
        every = chance.randint(1, max(1, last // 4))
        if number % 3 == 1:
            tell(f"told to end at step {at}")
            ended = cut.start(notice_at_step=at, stop_at_step=last, save_every=every)
            noticed += _check_notice(cut, ended, at)
        elif number % 3 == 2:
            moment = chance.randint(1, _MOMENTS)
            tell(f"killed in the middle of saving (moment {moment})")
            ended = cut.start(kill_at_moment=moment, stop_at_step=at, save_every=1)
        else:
            tell(f"killed at step {at}")
            ended = cut.start(kill_at_step=at, stop_at_step=last, save_every=every)
        if ended.status and ended.status not in _KILLED:
            raise Broken("restores", f"started after an interruption it {_how(ended)}")
        restored = max(restored, ended.restored)
    notice = f"told {noticed} times, it ended with that step saved" if noticed else "no step was left to tell it at"
    kept.append(Promise(name="stops", state=KEPT if noticed else UNPROVEN, detail=notice))
    if not restored and manifest.steps(cut.folder) and last > 1:
        restored = cut.start(stop_at_step=1).restored
    if not restored and last > 1:
        raise Broken("restores", "no start went on from a checkpoint", "call restore(state) before the loop; " + _DOCS)
    kept.append(Promise(name="restores", state=KEPT, detail=f"went on from step {restored}, among others"))


def _check_notice(cut: _Place, ended: Ended, at: int) -> int:
    if ended.step < at or ended.restored >= at:  # it never came there
        return 0
    if ended.status:
        raise Broken(
            "stops", f"told to end at step {at}, it {_how(ended)}", "leave the loop when should_stop() is true"
        )
    if ended.step > at + 2 or ended.saved < at:
        raise Broken(
            "stops", f"told to end at step {at}, it went on to step {ended.step}",
            "leave the loop when should_stop() is true",
        )  # fmt: skip
    return 1


class _Place:
    """A folder of checkpoints, and what happened in it."""

    def __init__(self, trial: Trial, place: Path) -> None:
        self.trial, self.folder, self._trace = trial, place / "checkpoints", place / "trace"
        self._output = place / "output"
        for folder in (self.folder, self._output):
            folder.mkdir(parents=True)

    def start(self, **plan: Any) -> Ended:
        interruptions = Interruptions(trace=str(self._trace), **plan)
        environment = self.trial.environment | {
            VARIABLE: msgspec.json.encode(interruptions).decode(), "BOUGH_CHECKPOINTS": str(self.folder),
            "BOUGH_OUTPUT": str(self._output),
        }  # fmt: skip
        with _output_file() as output:
            try:
                status = subprocess.run(  # noqa: S603 - the user's own
                    self.trial.argv, cwd=self.trial.cwd, env=environment, stdout=output, stderr=subprocess.STDOUT,
                    timeout=self.trial.timeout_s, check=False, stdin=subprocess.DEVNULL,
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                raise Broken(
                    "runs", f"did not end within {self.trial.timeout_s:g} s", "--timeout-s, or --steps"
                ) from None
            except OSError as error:
                raise WorkloadFailed(f"cannot start it: {error}", code="COMMAND_FAILED") from error
            output.seek(0)
            said = output.read().decode("utf-8", "replace")
        progress = read_progress(self.folder)
        return Ended(
            status=status, output=said, restored=progress.restored_step if progress else 0,
            step=self.steps[-1] if self.steps else 0, saved=next(iter(manifest.steps(self.folder)), 0),
        )  # fmt: skip

    @property
    def steps(self) -> list[int]:
        """As they were done, those that were done again included."""
        return [step for step, _ in self._lines()]

    def samples(self) -> dict[int, str]:
        """What each step was made with, when it was done for the last time."""
        return dict(self._lines())

    def _lines(self) -> Iterator[tuple[int, str]]:
        if self._trace.exists():
            for line in self._trace.read_text("ascii").splitlines():
                with contextlib.suppress(msgspec.DecodeError):  # a line that a kill has cut
                    found = msgspec.json.decode(line, type=dict[str, Any])
                    yield found["step"], found["samples"]


@contextlib.contextmanager
def _output_file() -> Iterator[Any]:
    with tempfile.TemporaryFile() as file:
        yield file


def _compared_samples(whole: _Place, cut: _Place, last: int) -> Promise:
    expected, found = whole.samples(), cut.samples()
    if not any(expected.values()):
        return Promise(
            name="samples", state=UNPROVEN, detail="the data does not come through checkpoint.Samples", hint=_DOCS
        )
    wrong = [step for step in range(1, last + 1) if step in expected and found.get(step) != expected[step]]
    if wrong:
        raise Broken(
            "samples", f"step {wrong[0]} saw other samples than without an interruption",
            'put the data into the state, as in state = {…, "data": data}, and begin to iterate after restore()',
        )  # fmt: skip
    return Promise(name="samples", state=KEPT, detail=f"the same in all {len(expected)} steps")


def differences(one: Path, other: Path) -> list[str]:
    """Entries of the newest checkpoints that are not equal, apart from random generators, which nobody may have
    used."""
    newest = [manifest.read(manifest.place(folder, manifest.steps(folder)[0])) for folder in (one, other)]
    if newest[0].step != newest[1].step:
        return [f"the last step ({newest[0].step} and {newest[1].step})"]
    if newest[0].world != newest[1].world:
        return ["the number of processes"]
    found: list[str] = []
    for shards in zip(newest[0].shards, newest[1].shards, strict=True):
        contents = [{item.name: item.content for item in shard.items} for shard in shards]
        plain = [_plain(folder, shard) for folder, shard in zip((one, other), shards, strict=True)]
        for kept in (contents, plain):
            names = kept[0].keys() | kept[1].keys()
            found += [name for name in names if kept[0].get(name) != kept[1].get(name) and name != randomness.NAME]
    return sorted({*found})


def _plain(folder: Path, shard: manifest.Shard) -> dict[str, Any]:
    try:
        return restoring.load_shard(folder, msgspec.structs.replace(shard, items=[])).plain
    except CheckpointError as error:
        raise Broken("saves", error.message) from error


def _size(folder: Path) -> str:
    size = manifest.read(manifest.place(folder, manifest.steps(folder)[0])).size
    return f"{size / 1e6:,.1f} MB of state"


def _how(ended: Ended) -> str:
    tail = " | ".join(ended.output.strip().splitlines()[-_TAIL_LINES:])
    return f"ended with status {ended.status}: {tail}"
