"""Ends mirrors when their time is over, and carries replays out in units of the engine."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from bough.adapters.engine import EXITED, Engine
from bough.environments import store as environments
from bough.gateway.taps import kept
from bough.kernel.clock import left_s
from bough.kernel.errors import NotFound
from bough.kernel.events import Events
from bough.kernel.files import write_whole
from bough.kernel.paying import REPLAY, Payer, label
from bough.kernel.platform import Home
from bough.kernel.reconcile import Handler, Turn
from bough.mirrors import metering, operations, store
from bough.mirrors.asked import Replayed, ReplayRequest
from bough.mirrors.models import FAILED, REPLAYED, REPLAYING, Replay
from bough.runtime.spec import Limits, UnitSpec
from bough.serving import mirroring
from bough.serving.mirroring import RUNNING

LOOK_S = 60.0  # at mirrors without an end: their environments may be gone
CHECK_S = 0.25  # the engine's hints wake a replay sooner
TRIES = 2
CENTER = "replays"  # who pays
KEPT, ALL = "kept", "all"  # kind and only object of the loop that removes kept requests
PRUNE_S = 3600.0
MEMORY_MB = 4096


def mirror_handler(engine: Engine) -> Handler:
    def turn(turn: Turn) -> float | None:
        now = turn.clock.now()
        with turn.apply() as tx:
            try:
                found = mirroring.get(tx, turn.id)
            except NotFound:
                return None
            if found.state != RUNNING:
                return None
            gone = not metering.services(tx, found.project, found.environment, found.target, found.service)
            if gone or (found.until and now >= found.until):
                operations.end(tx, engine, found, now)
                return None
            return min(LOOK_S, found.until - now) if found.until else LOOK_S

    return turn


def kept_handler(home: Home) -> Handler:
    """Keeps to what services say of how long their requests are kept."""

    def turn(turn: Turn) -> float:
        with turn.read() as tx:
            days = {
                (view.project, view.name, service.settings.route or name): service.settings.keep.days
                for view in environments.environments(tx, "")
                if (live := environments.live(tx, (view.project, view.name))) is not None
                for name, service in live[1].services.items()
                if service.settings.keep.requests
            }
        kept.prune(home.traffic / "kept", days, turn.clock.now())
        return PRUNE_S

    return turn


def replay_handler(home: Home, engine: Engine, events: Events) -> Handler:
    def turn(turn: Turn) -> float | None:
        with turn.read() as tx:
            replay = store.get(tx, turn.id)
            if replay.state != REPLAYING:
                return None
            named = metering.services(tx, replay.project, replay.environment, replay.target, replay.service, web=False)
        folder = home.path / "replays" / replay.id
        done = _read(folder / "result.json") or _ensure(home, engine, replay, folder, named)
        if done is None:
            return CHECK_S
        if early := left_s((folder / "result.json").stat().st_mtime, metering.TOLD_S, turn.clock.now()):
            return early
        sides = (replay.environment, replay.target)
        with turn.apply() as tx:
            used = metering.spent(tx, engine, replay.project, sides, named)
            state = FAILED if done.why else REPLAYED
            store.change(tx, replay.id, state=state, why=done.why, finished_at=turn.clock.now(), cpu_after=used)
            events.emit(tx, "replay.ended", replay.id, project=replay.project, state=state, sent=done.sent)
        engine.forget(_unit(replay))
        return None

    return turn


def _ensure(home: Home, engine: Engine, replay: Replay, folder: Path, named: list[str]) -> Replayed | None:
    """Makes sure that the unit runs; what came of it once it will give nothing more."""
    unit = _unit(replay)
    attempt = next((each for each in engine.snapshot() if each.unit == unit), None)
    if attempt is not None and attempt.state != EXITED:
        return None
    number = 1 if attempt is None else attempt.attempt + 1
    if number > TRIES:
        return Replayed(sent=0, why=f"its process ended {TRIES} times without a word: bough doctor")
    files = {each: str(kept.file_of(home.traffic / "kept", replay.project, replay.environment, each)) for each in named}
    request = ReplayRequest(replay=replay, files=files, socket=str(home.gateway_socket),
                            pairs=str(home.traffic / "replays" / f"{replay.id}.jsonl"))  # fmt: skip
    (home.traffic / "replays").mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(folder / "request.json", msgspec.json.encode(request))
    paths = [str(folder / "request.json"), str(folder / "result.json")]
    engine.apply(
        UnitSpec(
            unit=unit, attempt=number, kind="job", argv=[sys.executable, "-m", "bough.mirrors.worker", *paths],
            cwd=str(folder), labels={"project": replay.project, "environment": replay.target} | label(_payer(replay)),
            limits=Limits(memory_mb=MEMORY_MB),
        )
    )  # fmt: skip
    return None


def _unit(replay: Replay) -> str:
    return f"{replay.id}-replay"


def _payer(replay: Replay) -> Payer:
    """The environment that it is sent to."""
    return Payer(
        project=replay.project, environment=replay.target, cost_center=CENTER, kind=REPLAY, workload=replay.service
    )


def _read(path: Path) -> Replayed | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Replayed)
    except FileNotFoundError:
        return None
