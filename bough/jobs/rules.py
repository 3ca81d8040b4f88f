"""Pure decisions about job runs: what an end means, who is next, how it is said."""

from __future__ import annotations

import itertools
import math
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bough.adapters.engine import Attempt
from bough.capacity.changeovers import Measured
from bough.capacity.models import ON_DEMAND, Lease
from bough.data.models import Content
from bough.jobs.models import (
    CANCEL,
    CANCELLED,
    CAPACITY,
    CAPACITY_LOST,
    ERROR,
    FAILED,
    MOVING,
    RESIZING,
    SILENT,
    STOPPED,
    SUCCEEDED,
    TIME_LIMIT,
    TIMEOUT,
    WORSE,
    JobRun,
    Spent,
)
from bough.kernel.errors import Invalid
from bough.kernel.jobs import Range, Sweep, Value, bounds, budget
from bough.runtime.checkpoints.progress import Progress
from bough.runtime.spec import Exited, Failure
from bough.tracking.models import Metric, number

PAUSE_S = (1.0, 300.0)  # after errors in a row, doubling; what was interrupted goes on at once
WARM_S = 0.1  # of a first step, not worth a word below that
LIVED_S = 60.0  # an attempt that ran for so long has not failed at once
SHARE_S = 3600.0  # what a queue had longer ago is forgotten
NAMED = 5  # job runs in one sentence
_CAUSES = {CAPACITY_LOST: CAPACITY, MOVING: CAPACITY, RESIZING: CAPACITY, TIME_LIMIT: TIMEOUT, SILENT: TIMEOUT}
_NO_FAULT = (MOVING, RESIZING)  # of nobody: costs nothing of any budget


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a run whose attempt has ended. `state` empty: it is tried again."""

    state: str
    said: str
    spent: Spent
    cause: str = ""
    pause_s: float = 0.0
    failure: dict[str, Any] = {}


def outcome(
    run: JobRun, exits: Sequence[Exited], *, done: bool, came_on: bool = False, refused: Failure | None = None,
    last_line: str = "",
) -> Outcome:  # fmt: skip
    """`exits`: of all its processes; `done`: the program has said that its work is complete; `came_on`: this attempt
    has saved more than it began with, so that the next one does not begin where this one did; `refused`: why it did not
    go on from what was saved, which the next one would not either; `last_line`: of what the guilty process has printed.
    """
    at = guilty_of(exits)
    guilty = None if at is None else exits[at]
    if run.stopping_for == CANCEL:
        return Outcome(state=CANCELLED, said=run.said, spent=run.spent)
    if done and guilty is None:
        return Outcome(state=SUCCEEDED, said="it has done its work", spent=run.spent)
    if run.stopping_for == WORSE:
        return Outcome(state=STOPPED, said=run.said, spent=run.spent)
    if not run.stopping_for and guilty is None:
        return Outcome(state=SUCCEEDED, said="exit status 0", spent=run.spent)
    if run.stopping_for in _NO_FAULT:
        return Outcome(state="", said=run.said, spent=run.spent, cause=CAPACITY)
    said, last = (run.said, "") if run.stopping_for else (words(guilty), _last(guilty, last_line))
    cause = _CAUSES.get(run.stopping_for) or cause_of(guilty)
    if refused is not None and cause == ERROR:
        failure = msgspec.to_builtins(refused)
        return Outcome(state=FAILED, said=refused.message, spent=run.spent, cause=cause, failure=failure)
    used, allowed = getattr(run.spent, cause), getattr(budget(run.manifest.settings.retries), cause)
    failure = msgspec.to_builtins(guilty.failure) if guilty and guilty.failure else {}
    if used >= allowed:
        often = f", and {used + 1} attempts ended like that" if used else ""
        return Outcome(state=FAILED, said=said + often + last, spent=run.spent, cause=cause, failure=failure)
    barren = 0 if came_on or cause == CAPACITY else run.spent.barren + 1
    spent = msgspec.structs.replace(run.spent, **{cause: used + 1, "barren": barren})
    pause = 0.0 if cause == CAPACITY else min(PAUSE_S[0] * 2.0 ** min(max(barren - 1, 0), 20), PAUSE_S[1])
    return Outcome(state="", said=said + last, spent=spent, cause=cause, pause_s=pause, failure=failure)


def waits_s(run: JobRun, now: float) -> float:
    """For how long it may not begin yet; no longer than anything waits, for the clock may have been set back."""
    left = run.not_before - now
    return left if 0.0 < left <= PAUSE_S[1] else 0.0


def guilty_of(exits: Sequence[Exited]) -> int | None:
    """The number of the process that ended badly before the others, which were stopped because of it."""
    bad = [at for at, exit in enumerate(exits) if not _is_well(exit)]
    return min(bad, key=lambda at: exits[at].at) if bad else None


def as_set(lease: Lease, set_s: float) -> Lease:
    """With its times by a clock that was set by so much since it was acquired: an end that would come before its
    beginning was said before then, too."""
    acquired_at = lease.acquired_at + set_s
    ends_at = lease.ends_at + set_s if 0.0 < lease.ends_at < acquired_at else lease.ends_at
    return msgspec.structs.replace(lease, acquired_at=acquired_at, ends_at=ends_at)


def used(began_at: float, exits: Sequence[Exited]) -> dict[str, Any]:
    """What an attempt has taken of its machine, all its processes together, and that in words."""
    seconds = max([each.at for each in exits if each.at] or [began_at]) - began_at
    usage = [each.usage for each in exits]
    cpu, gpu = sum(each.cpu_s for each in usage), sum(each.gpu_s for each in usage)
    disk = sum(each.read_bytes for each in usage)
    read = sum(max(each.all_read_bytes, each.read_bytes) for each in usage)
    peak, written = sum(each.memory_peak_bytes for each in usage), sum(each.written_bytes for each in usage)
    rate = f" at {read / 1e6 / seconds:.1f} MB/s" if seconds > 0 else ""
    said = (
        f"{seconds:.1f} s, {cpu:.1f} s of processors, {peak / 1e6:.0f} MB of memory at most, {read / 1e6:.1f} MB read"
        f"{rate}, {disk / 1e6:.1f} MB of it from disks"
    )
    return {
        "said": said, "seconds": seconds, "cpu_s": cpu, "gpu_s": gpu, "memory_peak_bytes": peak, "read_bytes": read,
        "disk_read_bytes": disk, "written_bytes": written,
    }  # fmt: skip


def under_way(run: JobRun, first: Attempt, said: Progress) -> dict[str, Any]:
    """How long an attempt took until it made steps, and that in words; of its first process."""
    since = run.attempt_at
    process = max(first.started_at - since, 0.0)
    imports, ready = max(said.opened_at - since - process, 0.0), max(said.began_at - said.opened_at, 0.0)
    total = said.began_at - since + said.warm_s
    restored = said.restored_step > 0
    back = f"back to step {said.restored_step}" if restored else "until its first step began"
    parts = f"{process:.1f} s until its process ran, {imports:.1f} s of imports, {ready:.1f} s {back}"
    if said.damaged:
        parts += f"; {said.damaged} newer checkpoint{'s were' if said.damaged > 1 else ' was'} damaged and put aside"
    warm = f", {said.warm_s:.1f} s more for its first step than for others" if said.warm_s >= WARM_S else ""
    measured = Measured(start_s=total - ready if restored else total, restore_s=ready if restored else -1.0)
    return {"said": f"makes steps after {total:.1f} s: {parts}{warm}", "seconds": total,
            "changeover": msgspec.to_builtins(measured)}  # fmt: skip


def is_planned(run: JobRun) -> bool:
    """Whether capacity weighs spot against on-demand for it."""
    settings = run.manifest.settings
    return settings.capacity != ON_DEMAND and settings.deadline_s > 0


def named(runs: Iterable[tuple[str, str]]) -> str:
    """Job runs by job and id: the first few, and how many more there are."""
    names = [f"{job} ({id})" for id, job in runs]
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def waits_for(runs: Iterable[tuple[str, str]]) -> str:
    """Why a run waits that comes after these."""
    return f"waits for {named(runs)}"


def counted(states: Iterable[str]) -> dict[str, int]:
    """How many runs of a group are in which state: the most first, of as many those that succeeded."""
    counts = Counter(states)
    return {state: counts[state] for state in sorted(counts, key=lambda each: (-counts[each], each != SUCCEEDED, each))}


def totals(states: Iterable[str]) -> str:
    """The same in words."""
    counts = counted(states).items()
    return ", ".join(f"{count} {'stopped early' if state == STOPPED else state}" for state, count in counts)


def laid_out(data: Sequence[Content]) -> dict[str, Any]:
    """What a run finds at $BOUGH_DATA, and that in words."""
    said = ", ".join(f"{each.name}: {each.files:,} files, {each.bytes / 1e6:,.1f} MB" for each in data)
    return {"said": said, "datasets": msgspec.to_builtins(data)}


def cause_of(exit: Exited | None) -> str:
    """Of an end that nobody asked for."""
    return CAPACITY if exit is None or exit.reason in ("lost", "lease", "stopped") else ERROR


def words(exit: Exited | None) -> str:
    """Why a program ended, in a sentence."""
    if exit is None:
        return "it ended without a word"
    if exit.failure is not None:
        return exit.failure.message
    match exit.reason:
        case "lost":
            return "the process that guards it was killed, and it with it"
        case "lease":
            return "its machine lost touch with Bough"
        case "memory":
            return "it used more memory than its limit"
        case "stopped" if exit.code == 0:
            return "it was asked to stop, and ended well"
        case "stopped":
            return "it was asked to stop"
    if exit.code < 0:
        name = signal.Signals(-exit.code).name if -exit.code in set(signal.Signals) else f"signal {-exit.code}"
        return f"it was ended by {name} from outside" + (", as a kernel does that runs out of memory"
                                                         if exit.code == -signal.SIGKILL else "")  # fmt: skip
    below = exit.code - 128  # so a shell says by which signal its command was ended
    name = f" ({signal.Signals(below).name})" if below in set(signal.Signals) else ""
    return f"exit status {exit.code}{name}"


def turn_order(
    queued: Sequence[JobRun], used: Mapping[str, float], weights: Mapping[str, float], part: Callable[[JobRun], float]
) -> Iterator[JobRun]:  # fmt: skip
    """Who is asked first whether there is room: whoever goes on with another size, for whom a place is kept; then the
    queue that has had least of its share, in it who matters most, then who of the same weight waits longest. Thousands
    may wait where few have room, so no more are put in order than are asked for. `used`: seconds of the whole machine
    that queues had lately or have now; `part`: which part of it a run would take."""
    had = had_of(used, weights, {run.manifest.settings.queue for run in queued})
    kept, others = list[JobRun](), list[JobRun]()
    for run in queued:
        (kept if run.next_size else others).append(run)
    yield from _by_turns(kept, had, weights, part)
    yield from _by_turns(others, had, weights, part)


def _by_turns(
    queued: Sequence[JobRun], had: dict[str, float], weights: Mapping[str, float], part: Callable[[JobRun], float]
) -> Iterator[JobRun]:  # fmt: skip
    queues: dict[str, list[JobRun]] = {}
    for run in queued:
        queues.setdefault(run.manifest.settings.queue, []).append(run)
    for runs in queues.values():
        runs.sort(key=lambda run: (-run.manifest.settings.priority, run.created_at, run.index, run.id), reverse=True)
    step_s = 1.0  # as if each that is put in order here had its place for a second: queues that had the same take turns
    while len(queues) > 1:
        name = min(queues, key=lambda name: (had[name], name))
        run = queues[name].pop()
        had[name] += step_s * part(run) / max(weights.get(name, 1.0), 1e-9)
        yield run
        if not queues[name]:
            del queues[name]
    for runs in queues.values():  # one that is alone has every turn
        yield from reversed(runs)


def lately(occupied_s: float, seconds: float, within_s: float = SHARE_S) -> float:
    """Of what leases of so many seconds in all occupied: what of it lies within the last `within_s`, if it was the same
    all the time."""
    return occupied_s * min(within_s / seconds, 1.0) if seconds > 0 else 0.0


def had_of(used: Mapping[str, float], weights: Mapping[str, float], queues: Iterable[str]) -> dict[str, float]:
    """What queues have had for their weights."""
    return {name: used.get(name, 0.0) / max(weights.get(name, 1.0), 1e-9) for name in queues}


def may_take(waiting: JobRun, holder: JobRun, had: Mapping[str, float]) -> bool:
    """Whether what `holder` has beyond its least is rather for `waiting`. `had`: by queue, as in `turn_order`, what it
    has had for its weight."""
    mine, other = waiting.manifest.settings, holder.manifest.settings
    if mine.queue == other.queue:
        return mine.priority >= other.priority
    return had.get(mine.queue, 0.0) <= had.get(other.queue, 0.0)


def is_elastic(run: JobRun) -> bool:
    size = bounds(run.manifest.settings.processes)
    return size.min < size.max


def left_s(said: Progress) -> float:
    """Seconds until it has done its work; infinite where it does not say how much that is."""
    return max(said.total - said.step, 0) * said.step_s if said.total and said.step_s else math.inf


def children(sweep: Sweep, array: int) -> list[dict[str, Value]]:
    """The parameters of each run of a group."""
    if sweep.grid:
        keys = list(sweep.grid)
        return [dict(zip(keys, values, strict=True)) for values in itertools.product(*sweep.grid.values())]
    if sweep.random:
        dice = random.Random(sweep.seed)  # noqa: S311 - the same seed gives the same sweep
        return [{key: _drawn(values, dice) for key, values in sweep.random.items()} for _ in range(sweep.count)]
    return [{} for _ in range(array)]


def given(declared: Mapping[str, Value], said: Mapping[str, str]) -> dict[str, Value]:
    """Parameters as a caller says them, of the type that the job declares; a new one is taken as it reads."""
    found = dict(declared)
    for key, text in said.items():
        try:
            found[key] = _read(text, type(declared[key]) if key in declared else None)
        except ValueError as error:
            kind = type(declared[key]).__name__
            raise Invalid(
                f"the parameter {key} is {declared[key]!r} in bough.toml, and {text!r} is no {kind}",
                code="PARAMETER_INVALID", hint=f"--params {key}={declared[key]}",
            ) from error  # fmt: skip
    return found


def counted_once(points: Sequence[Metric], run: JobRun) -> list[float]:
    """A metric of a run as it would be without interruptions, oldest point first: what an attempt logged beyond the
    step at which the next one went on is left out. Points that name no step cannot be told apart like that: of them
    those of the latest attempt count, or all where it has none."""
    kept = list(points)
    if run.attempt > 1 and not any(point.step for point in points):
        kept = [point for point in points if point.timestamp_ms >= run.attempt_at * 1000] or kept
    elif run.attempt > 1:
        kept = []
        for point in points:
            while kept and kept[-1].step >= point.step:
                kept.pop()
            kept.append(point)
    return [number(point.value) for point in kept]


def is_worse(mine: Sequence[float], others: Sequence[Sequence[float]], goal: str, stop_after: int) -> bool:
    """The median rule: after enough points, whoever's best is worse than half of the others were so far stops."""
    at = len(mine)
    mine, *others = ([_ranked(value, goal) for value in points] for points in (mine, *others))
    peers = [points[:at] for points in others if len(points) >= at]
    if at < stop_after or len(peers) < 2:
        return False
    pick = max if goal == "max" else min
    averages = sorted(sum(points) / len(points) for points in peers)
    median = averages[len(averages) // 2] if len(averages) % 2 else sum(averages[len(averages) // 2 - 1 :][:2]) / 2
    best = pick(mine)
    return best < median if goal == "max" else best > median


def best(points: Sequence[float], goal: str) -> float:
    """Of a sweep's metric, one point at least."""
    return (max if goal == "max" else min)(_ranked(value, goal) for value in points)


def _ranked(value: float, goal: str) -> float:
    """What has diverged is worse than any number: compared as it is, it would be neither."""
    return value if not math.isnan(value) else (-math.inf if goal == "max" else math.inf)


def _last(exit: Exited | None, line: str) -> str:
    """Mostly says more than an exit status; of other ends it says nothing."""
    told = exit is not None and exit.failure is None and exit.reason == "exited" and exit.code > 0
    return f"; its last line: {line}" if told and line else ""


def _is_well(exit: Exited) -> bool:
    return exit.code == 0 and exit.reason in ("exited", "stopped")


def _drawn(values: list[Value] | Range, dice: random.Random) -> Value:
    if isinstance(values, list):
        return dice.choice(values)
    low, high = values.min, values.max
    if isinstance(low, int) and isinstance(high, int) and not values.log:
        return dice.randint(low, high)
    if values.log:
        drawn = math.exp(dice.uniform(math.log(low), math.log(high)))
        return round(drawn) if isinstance(low, int) and isinstance(high, int) else drawn
    return dice.uniform(low, high)


def _read(text: str, kind: type[Any] | None) -> Value:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if kind is not None:
        value: Value = kind(text)
        return value
    for attempt in (int, float):
        try:
            return attempt(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
