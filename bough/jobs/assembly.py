"""Puts the parts of jobs together; what they need of the world is handed in by `composition/handlers.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import msgspec

from bough.adapters.accelerators import Accelerators
from bough.adapters.blobs import Blobs
from bough.adapters.connectors import Objects
from bough.adapters.engine import Engine
from bough.capacity.models import Capacity
from bough.data.views import Views
from bough.databases.disk import Databases
from bough.environments import branching
from bough.jobs import outputs, schedules, store, sweeping, taking
from bough.jobs.loop import Holding, JobLoop
from bough.jobs.machine import Machine
from bough.jobs.models import KIND, RUN
from bough.jobs.objects import BucketWork
from bough.jobs.placing import Placing
from bough.jobs.saved import CheckpointBucket
from bough.jobs.tokens import RunTokens
from bough.jobs.tracked import Open, Tracked
from bough.jobs.units import Places
from bough.jobs.watching import Watching
from bough.kernel.events import Events
from bough.kernel.platform import Home, Platform
from bough.kernel.reconcile import Handler
from bough.secrets.opening import open_with
from bough.secrets.vault import Vault


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What jobs need of others."""

    home: Home
    platform: Platform
    engine: Engine
    events: Events
    capacity: Capacity
    accelerators: Accelerators
    blobs: Blobs
    views: Views
    vault: Vault
    private_digest: Callable[[bytes], str]
    read_runs: Open
    write_runs: Open
    machine: Machine
    databases: Databases
    objects: Objects
    holding: Holding
    weights: Mapping[str, float] = {}


def handlers(outside: Outside) -> dict[str, Handler]:
    places = Places(outside.home)
    tracked = Tracked(outside.read_runs, outside.write_runs)

    def here() -> Machine:
        return msgspec.structs.replace(outside.machine, devices=tuple(outside.accelerators.devices()))

    watching = Watching(outside.engine, outside.capacity, places, here)
    placing = Placing(outside.capacity, here, watching, outside.weights)
    jobs = JobLoop(
        *(outside.home, outside.platform, outside.engine, outside.events, outside.capacity),
        *(placing, watching, outside.views, RunTokens(outside.vault, outside.private_digest), tracked),
        *(outside.databases, outside.holding),
    )
    secret = open_with(outside.vault)
    saved = CheckpointBucket(outside.objects, secret, places, outside.events)
    return {
        KIND: jobs.handle,
        RUN: outputs.handler(
            outside.blobs,
            tracked,
            places,
            outside.events,
            BucketWork(outside.objects, secret, places, outside.events, saved),
            saved,
        ),
        schedules.KIND: schedules.handler(outside.events),
        sweeping.KIND: sweeping.handler(places),
    }


def listen(events: Events) -> None:
    """What happens elsewhere and matters to jobs."""
    events.on("release.live", schedules.on_live)
    events.on(branching.BRANCHED, schedules.on_branched)
    events.on(branching.DISCARDED, schedules.on_discarded)
    events.on(branching.DISCARDED, store.on_discarded)
    events.on(branching.DISCARDED, taking.on_discarded)


def this_machine() -> Machine:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(cpus=float(len(os.sched_getaffinity(0))), memory_mb=memory >> 20)
