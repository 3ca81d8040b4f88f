"""Job runs as data. Times are seconds since the epoch; 0: not yet."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.builds.models import BuildResult
from bough.capacity.models import Lease
from bough.environments.models import JobManifest
from bough.kernel.jobs import Value

PREFIX = "jr_"  # of the ids of job runs, and so of their units
KIND, ALL = "jobs", "all"  # one object looks after all job runs: what they share is decided in one place
RUN = "job-run"  # and one for each that has files to bring in

WAITING = "waiting"  # for other job runs
BUILDING = "building"
BRINGING = "bringing"  # the objects that it reads
QUEUED = "queued"  # for capacity, or for the end of a pause
RUNNING = "running"
STOPPING = "stopping"  # asked to end: what `stopping_for` says
ENDING = "ending"  # the program has ended; its output is brought in
SUCCEEDED, FAILED, CANCELLED, SKIPPED = "succeeded", "failed", "cancelled", "skipped"
STOPPED = "stopped"  # early: it was clearly worse than the others of its sweep
ENDED = (SUCCEEDED, STOPPED, FAILED, CANCELLED, SKIPPED)
WELL = (SUCCEEDED, STOPPED)  # nothing went wrong: what it has made is kept
ACTIVE = (WAITING, BUILDING, BRINGING, QUEUED, RUNNING, STOPPING, ENDING)

# Why an attempt was followed by another one, or the run ended: each has a budget of its own.
CAPACITY, ERROR, TIMEOUT = "capacity", "error", "timeout"
# Why an attempt is asked to end; the first three go on later.
CAPACITY_LOST, MOVING, RESIZING = "capacity", "move", "resize"
CANCEL, TIME_LIMIT, SILENT, WORSE = "cancel", "time limit", "silent", "worse"

CHANGED, ENDED_EVENT = "job.changed", "job.ended"
DECIDED, UNDER_WAY, GAVE_BACK, USED = "job.decided", "job.under_way", "job.gave_back", "job.used"
LAID_OUT = "job.data"  # what its processes find at $BOUGH_DATA
TOOK, SENT = "job.took", "job.sent"  # objects of buckets
KEPT = "job.kept"  # checkpoints, in a bucket
MISSED, SKIPPED_SLOT = "job.slot_missed", "job.slot_skipped"


class Spent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Attempts that were followed by another one, by cause. `barren`: those in a row that came no further."""

    capacity: int = 0
    error: int = 0
    timeout: int = 0
    barren: int = 0

    @property
    def total(self) -> int:
        return self.capacity + self.error + self.timeout


class JobRun(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a job, or a group of them (`children` above 0), which is never started itself."""

    id: str
    project: str
    environment: str
    job: str
    release: int  # number; 0: from a folder that nobody has deployed
    by: str
    state: str
    said: str  # why it is in this state
    manifest: JobManifest
    params: dict[str, Value] = {}
    register: str = ""
    start_from: str = ""  # id of the job run with whose checkpoints it begins
    group: str = ""  # id of the group that it belongs to
    index: int = 0  # its number there
    children: int = 0
    needs: list[str] = []  # job runs that must have succeeded
    slot: float = 0.0  # of the schedule
    created_at: float = 0.0
    changed_at: float = 0.0
    started_at: float = 0.0  # the first attempt
    finished_at: float = 0.0
    not_before: float = 0.0  # a pause after a failure
    attempt: int = 0
    attempt_at: float = 0.0
    under_way: int = 0  # the last attempt that was seen making steps
    size: int = 1  # processes of the present attempt
    wanted_size: int = 0  # what somebody asked for; 0: as many as there is room for
    next_size: int = 0  # processes that it goes on with after a change, for which its place is kept; 0: no change
    gave_back: int = 0  # how often it has given back processes to others
    port: int = 0  # where its processes find each other
    devices: list[str] = []
    stopping_for: str = ""
    stop_by: float = 0.0  # when what has not ended by then is killed
    ends_as: str = ""  # while it is ending
    seen: int = 0  # the change of the catalog up to which it sees data
    spent: Spent = Spent()
    build: BuildResult | None = None
    lease: Lease | None = None
    price_per_h: float = 0.0
    seconds: float = 0.0  # of ended leases
    cost: float = 0.0
    occupied_s: float = 0.0  # of ended leases too: seconds of the whole machine
    run: str = ""  # id of the tracked run
    token: str = ""  # id of its token
    failure: dict[str, Any] = {}

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def place(self) -> tuple[str, str]:
        return self.project, self.environment

    def unit(self, rank: int) -> str:
        return f"{self.id}-{rank}"


class JobProgress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far the program says that it is."""

    step: int = 0
    total: int = 0
    saved_step: int = 0
    step_s: float = 0.0
    left_s: float = 0.0
    samples_per_s: float = 0.0  # lately
    read_bytes: int = 0  # through `Records`, by its first process
    read_mb_per_s: float = 0.0  # since it asked for the first of them
    waited: float = 0.0  # part of that time in which it stood still for data
    said: str = ""


class TakenObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object of a bucket that a run has read, and no later run of its job will."""

    bucket: str
    key: str
    etag: str
    size: int


class JobRunView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    project: str
    environment: str
    job: str
    state: str
    said: str
    by: str
    created_at: float
    release: int = 0
    group: str = ""
    index: int = 0
    children: int = 0
    params: dict[str, Value] = {}
    start_from: str = ""
    queue: str = "default"
    priority: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    attempt: int = 0
    size: int = 1
    devices: list[str] = []
    run: str = ""
    cost_center: str = ""
    seconds: float = 0.0
    cost: float = 0.0
    capacity: str = ""  # on which it runs: pool, zone, kind
    slot: float = 0.0
    failure: dict[str, Any] = {}


class Moment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a timeline."""

    at: float
    what: str
    said: str
    data: dict[str, Any] = {}


class JobRunDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    run: JobRunView
    timeline: list[Moment]
    progress: JobProgress | None = None
    runs: list[JobRunView] = []  # of a group
    totals: dict[str, int] = {}  # of a group: how many of its runs are in which state
    best: str = ""  # of a sweep with a metric
    checkpoints: str = ""
    log: str = ""


class JobNews(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `jobs.follow` yields: `kind` is log, state or done."""

    kind: str
    at: float
    id: str = ""
    state: str = ""
    text: str = ""
    cursor: str = ""
    run: JobRunView | None = None
