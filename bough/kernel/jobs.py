"""What `[jobs.NAME]` says beside what services say too: retries, sweeps, processes, and when the job runs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec

from bough.kernel import buckets, cron
from bough.kernel.policy import Metric

Value = str | int | float | bool
NAMED_ACCELERATOR = re.compile(r"^(?P<kind>[A-Za-z0-9][A-Za-z0-9_.-]{0,39})(?::(?P<count>[1-9][0-9]{0,3}))?\Z")
MOST_CHILDREN = 10_000  # of one sweep or array: more belong into a loop inside of a program
MOST_PROCESSES = 1024
CATCH_UPS = ("none", "latest", "all")
GOALS = ("max", "min")
BUCKETS = ("source", "target", "checkpoints")  # keys of a job that say where objects are
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class Retries(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often an attempt that failed is followed by another one, by the cause: `capacity` was taken away, the program
    ended with an `error`, it had no time left (`timeout`)."""

    capacity: Count = 1000
    error: Count = 0
    timeout: Count = 0


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a random value comes from; whole numbers when both ends are. `log`: evenly over orders of magnitude."""

    min: float | int
    max: float | int
    log: bool = False


class Sweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Runs of one job with different parameters: all of a `grid`, or `count` at `random`. With a `metric`, the best is
    named, and one that is worse than half of the others were at the same step is stopped after `stop_after` points."""

    grid: dict[str, list[Value]] = {}
    random: dict[str, list[Value] | Range] = {}
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHILDREN)] = 10
    seed: int = 0
    parallel: Count = 0  # at most so many at once; 0: as many as there is room for
    metric: str = ""
    goal: str = "min"
    stop_after: Count = 0  # points of the metric; 0: none is stopped early

    @property
    def wanted(self) -> bool:
        return bool(self.grid or self.random)


class Distill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job whose output is a student: it is measured beside its `teacher` on the rows of `data`, and becomes a version
    of a model only if it loses at most `max_loss` of the metric and is smaller or faster."""

    teacher: str = ""  # NAME@ALIAS or NAME/NUMBER; empty: the job is none
    data: str = ""  # DATASET/PATH
    label: str = ""  # column with the right answer; empty: what the teacher answers is right
    hidden: list[str] = []
    answer: str = ""
    metric: Metric = "accuracy"
    max_loss: Annotated[float, msgspec.Meta(ge=0)] = 0.02


class Processes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A data-parallel job: as many processes as there is room for, within these bounds."""

    min: Annotated[int, msgspec.Meta(ge=1, le=MOST_PROCESSES)] = 1
    max: Annotated[int, msgspec.Meta(ge=1, le=MOST_PROCESSES)] = 1


class Accelerator(msgspec.Struct, frozen=True):
    """What `h100:2` says."""

    kind: str
    count: int


def accelerator(text: str) -> Accelerator:
    """Raises ValueError for what is not written as TYPE or TYPE:COUNT."""
    found = NAMED_ACCELERATOR.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no accelerator: write TYPE or TYPE:COUNT, such as h100:2")
    return Accelerator(found["kind"].lower(), int(found["count"] or 1))


def budget(retries: int | Retries) -> Retries:
    """A bare number is for errors."""
    return retries if isinstance(retries, Retries) else Retries(error=retries)


def bounds(processes: int | Processes) -> Processes:
    return processes if isinstance(processes, Processes) else Processes(min=processes, max=processes)


def order(after: Mapping[str, Sequence[str]], job: str) -> list[str]:
    """The job and all that it comes after, each after what it needs. `after`: by job, those that it names."""
    found: list[str] = []

    def visit(name: str) -> None:
        if name in found:
            return
        for before in after[name]:
            visit(before)
        found.append(name)

    visit(job)
    return found


def wrong(job: Any, name: str, jobs: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The key of a `Job` that cannot be meant, what is wrong with it, and what may be written; None: all is well."""
    size = bounds(job.processes)
    if size.min > size.max:
        return "processes", f"min {size.min} is above max {size.max}", "processes = { min = 1, max = 4 }"
    for text in job.resources.accelerators:
        try:
            accelerator(text)
        except ValueError as error:
            return "resources", str(error), 'accelerators = ["h100:2", "a100:4"]'
    if (found := wrong_share(job.resources)) is not None:
        return found
    if job.catch_up not in CATCH_UPS:
        return "catch_up", f"{job.catch_up!r} is not one of {', '.join(CATCH_UPS)}", 'catch_up = "latest"'
    if job.sweep.goal not in GOALS:
        return "sweep", f"goal {job.sweep.goal!r} is not one of {', '.join(GOALS)}", 'goal = "max"'
    if job.distill.teacher and not (job.distill.data and job.register):
        return (
            "distill",
            "a student needs rows to be measured on, and a model to be a version of",
            'register = "small", distill = { teacher = "large@champion", data = "rows/test.csv" }',
        )
    if job.register and (job.array or job.sweep.wanted) and not job.sweep.metric:
        said = f"it is several runs, and nothing says which of them becomes a version of {job.register}"
        return "register", said, 'sweep = { metric = "loss", goal = "min" }'
    for key in BUCKETS:
        if (place := getattr(job, key)) is not None and (found := buckets.wrong(place)) is not None:
            return key, f"{found[0]}: {found[1]}", found[2]
    if job.source is not None and (job.array or job.sweep.wanted):
        said = "its objects go to one run, and it has several at once"
        return "source", said, 'read them in a job of its own, and name that in after = ["read"]'
    if job.schedule and (said := cron.wrong(job.schedule)):
        return "schedule", said, cron.EXAMPLE
    return _wrong_sweep(job) or _wrong_order(name, jobs) or _wrong_zone(job)


def wrong_share(resources: Any) -> tuple[str, str, str] | None:
    """The key, what is wrong with it, what to write instead."""
    gpus = resources.gpus
    if gpus > 1.0 and gpus != int(gpus):
        return "resources", f"{gpus:g} gpus are neither whole ones nor a share of one", "gpus = 0.5"
    if 0.0 < gpus < 1.0 and any(accelerator(text).count > 1 for text in resources.accelerators):
        return "resources", "a share is of one device, and `accelerators` asks for several", 'accelerators = ["t4"]'
    return None


def _wrong_sweep(job: Any) -> tuple[str, str, str] | None:
    sweep: Sweep = job.sweep
    if sweep.wanted and job.array:
        return "array", "an array and a sweep at once; a sweep has its own number of runs", "remove one of them"
    if sweep.grid and sweep.random:
        return "sweep", "has both a grid and random values", "write one of them"
    number = math.prod(len(values) for values in sweep.grid.values()) if sweep.grid else sweep.count
    if sweep.wanted and not 1 <= number <= MOST_CHILDREN:
        return "sweep", f"means {number} runs; between 1 and {MOST_CHILDREN} are possible", "use random with a count"
    if job.array > MOST_CHILDREN:
        return "array", f"{job.array} runs; at most {MOST_CHILDREN} are possible", "array = 100"
    for key, values in sweep.random.items():
        if isinstance(values, Range) and (values.min > values.max or (values.log and values.min <= 0)):
            return "sweep", f"the range of {key} is empty, or reaches below zero with log", "min = 0.0001, max = 0.1"
        if values == []:
            return "sweep", f"{key} has no values", "give it at least one"
    if sweep.stop_after and not sweep.metric:
        return "sweep", "stop_after needs a metric to compare", 'metric = "loss"'
    return None


def _wrong_order(name: str, jobs: Mapping[str, Any]) -> tuple[str, str, str] | None:
    ways = [[name]]
    for way in ways:
        for before in jobs[way[-1]].after:
            if before not in jobs:
                return "after", f"there is no job {before!r}", f"add [jobs.{before}], or remove it from `after`"
            if before == name:
                return "after", f"{' after '.join([*way, before])}: a job cannot come after itself", "break the circle"
            if before not in way:
                ways.append([*way, before])
    return None


def _wrong_zone(job: Any) -> tuple[str, str, str] | None:
    try:
        ZoneInfo(job.timezone)
    except (KeyError, ValueError, OSError):
        return "timezone", f"{job.timezone!r} is no time zone", 'timezone = "Europe/Berlin"'
    return None
