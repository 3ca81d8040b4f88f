"""Bringing Bough up on this machine, and taking it down: what `bough up`, `down` and `dev` share."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.engine import ASLEEP, EXITED, Attempt
from bough.adapters.engine.remote import RemoteEngine
from bough.entrypoints import keeper
from bough.entrypoints.processes import (
    GATEWAY,
    KEEPER,
    NODE,
    PARTS,
    SERVER,
    answers,
    failure,
    listening,
    pid_of,
    stop,
)
from bough.gateway import portholder
from bough.gateway.certificates import Certificate
from bough.kernel import platform as settings
from bough.kernel.errors import Conflict, Exhausted, Invalid, Unavailable, from_detail
from bough.kernel.files import as_exhausted, locked
from bough.kernel.platform import Home, Platform

START_S = 30.0  # far beyond the second that it takes; then the log is shown
LOOK_S = 0.01
LETS_GO_S = 1.0  # for a port that nobody says to hold
UNITS_S = 30.0  # for units to end when all are stopped
LONGEST_HOME_BYTES = 85  # the engine's sockets below it must fit the 107 bytes of a Unix socket's path

Say = Callable[[str], None]


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """`started` names what did not run before."""

    home: str
    gateway_url: str
    api_url: str
    started: list[str]
    seconds: float
    tls_url: str = ""  # empty: nothing is encrypted
    certified: bool = True  # False: nothing listens there yet, an authority is being asked for a certificate


def bring_up(home: Home, wanted: dict[str, Any], began: float) -> Up:
    """Starts what does not run and returns when all of it answers. `wanted` overrides settings and is remembered; a
    port of 0 is one that is free, or where Bough runs already."""
    prepare(home)
    with locked(home.run / "up.lock"):  # two at once would both find the ports free
        missing = configure(home, wanted)
        if pid := pid_of(home, KEEPER):
            if missing:
                os.kill(pid, signal.SIGHUP)
        else:
            keeper.start(home)
        _wait(home, [*missing, KEEPER])
    return _up(home, missing, began)


def describe(home: Home, began: float) -> Up | None:
    """What runs, once all of it answers."""
    return _up(home, list(PARTS), began) if all(answers(home, name) for name in PARTS) else None


def configure(home: Home, wanted: dict[str, Any]) -> list[str]:
    """Remembers settings and checks ports and certificate; returns the parts that do not answer."""
    platform = _settings(home, wanted)
    missing = [name for name in PARTS if not answers(home, name)]
    check_ports(home, platform, missing)
    for name in missing:
        (home.run / f"{name}.failed.json").unlink(missing_ok=True)
    return missing


def prepare(home: Home) -> None:
    """Makes the home, or says why it cannot be one."""
    if len(os.fsencode(home.path)) > LONGEST_HOME_BYTES:
        raise Invalid(
            f"the path {home.path} is longer than {LONGEST_HOME_BYTES} bytes; sockets below it would not work",
            code="HOME_TOO_LONG",
            hint="BOUGH_HOME=/short/path bough up",
        )
    try:
        with as_exhausted(home.path):
            home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            home.run.mkdir(exist_ok=True, mode=0o700)
            probe = home.run / f".probe-{os.getpid()}"
            probe.write_bytes(b"x")
            probe.unlink()
    except OSError as error:
        raise Exhausted(
            f"{home.path} cannot be Bough's home; {error.strerror}: {error.filename}",
            code="HOME_UNUSABLE",
            hint="BOUGH_HOME=/another/path bough up",
        ) from error


def take_down(home: Home, *, units: bool, say: Say = lambda text: None) -> list[str]:
    """Stops the keeper first, so that nothing is started again, then server, gateway and node. With `units`, also all
    replicas, web services, builds and jobs. Returns what was stopped; nothing running is fine."""
    stopped = []
    for name in (KEEPER, SERVER):
        if stop(home, name):
            say(f"stopped {name}")
            stopped.append(name)
    if units:
        count = _stop_units(home)
        if count:
            say(f"stopped {count} unit{'s' if count != 1 else ''}")
            stopped.append("units")
    for name in (GATEWAY, NODE):
        if stop(home, name):
            say(f"stopped {name}")
            stopped.append(name)
    return stopped


def log_tail(home: Home, name: str, lines: int = 15) -> list[str]:
    with contextlib.suppress(OSError):
        return (home.logs / f"{name}.log").read_text("utf-8", "replace").splitlines()[-lines:]
    return []


def _up(home: Home, started: list[str], began: float) -> Up:
    platform = settings.load(home.path)
    return Up(
        home=str(home.path),
        gateway_url=platform.gateway_url,
        api_url=platform.api_url,
        tls_url=platform.tls_url,
        certified=bool(platform.tls_certificate) or not platform.domains or home.certificate.exists(),
        started=started,
        seconds=round(time.monotonic() - began, 3),
    )


def _settings(home: Home, wanted: dict[str, Any]) -> Platform:
    before = settings.load(home.path)
    wanted = wanted | _chosen_ports(home, before, msgspec.structs.replace(before, **wanted))
    platform = msgspec.structs.replace(before, **wanted)
    for name, prefix in ((GATEWAY, "gateway"), (SERVER, "api")):
        runs = listening(home, name)
        port = getattr(platform, f"{prefix}_port")
        if runs is not None and runs.port != port:
            raise Conflict(
                f"Bough already runs here, with its {name} on port {runs.port}",
                code="ALREADY_RUNNING",
                hint=f"bough down && bough up --{prefix}-port {port}",
            )
    changed = sorted(key for key in wanted if getattr(platform, key) != getattr(before, key))
    if changed and any(listening(home, name) is not None for name in (GATEWAY, SERVER)):
        raise Conflict(
            f"Bough already runs here, and {', '.join(changed)} of settings.toml is read when it starts",
            code="ALREADY_RUNNING",
            hint="bough down, then the same command again",
        )
    _check_different(platform)
    if found := settings.wrong(platform):
        raise Invalid(found[0], code="SETTINGS_INVALID", hint=found[1])
    if {"tls_certificate", "tls_key"} & wanted.keys():
        certificate = Certificate(Path(platform.tls_certificate), Path(platform.tls_key) if platform.tls_key else None)
        certificate.load()
        certificate.check_time(time.time())
    if platform != before or not (home.path / settings.FILE_NAME).exists():
        with as_exhausted(home.path):
            settings.save(home.path, platform)
    return platform


def _chosen_ports(home: Home, before: Platform, wanted: Platform) -> dict[str, int]:
    """In place of those that are 0: where Bough listens already, else free ones, each held until all are found, so that
    none is found twice."""
    gateway, server = listening(home, GATEWAY), listening(home, SERVER)
    places = {
        "gateway_port": (wanted.gateway_host, gateway.port if gateway is not None else 0),
        "tls_port": (wanted.gateway_host, before.tls_port if gateway is not None else 0),
        "api_port": (wanted.api_host, server.port if server is not None else 0),
    }
    found: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for key, (host, taken) in places.items():
            if not getattr(wanted, key):
                trial = held.enter_context(_bound(host, 0, "bough up --host ADDRESS"))
                found[key] = taken or trial.getsockname()[1]
    return found


def check_ports(home: Home, platform: Platform, missing: list[str]) -> None:
    """Before anything is started. Beside a living keeper a port may be that of a part which it has just started again
    and which has not said so yet; if it is somebody else's, the part says that."""
    if pid_of(home, KEEPER):
        return
    for name, key, host in _listeners(platform):
        if name in missing and not pid_of(home, name):
            _bound(host, getattr(platform, key), f"bough up {_option(key)} PORT").close()


def _check_different(platform: Platform) -> None:
    """Their sockets would let two of them listen on one port, and callers would meet either."""
    found: dict[tuple[str, int], str] = {}
    for _, key, host in _listeners(platform):
        place = (host, getattr(platform, key))
        if place in found:
            said = f"{_option(found[place])} and {_option(key)} are both {place[1]}"
            raise Invalid(said, code="PORTS_EQUAL", hint=f"bough up {_option(key)} 0 takes one that is free")
        found[place] = key


def _listeners(platform: Platform) -> list[tuple[str, str, str]]:
    """What listens, the setting of its port, and its address."""
    found = [(GATEWAY, "gateway_port", platform.gateway_host), (SERVER, "api_port", platform.api_host)]
    return [*found, (GATEWAY, "tls_port", platform.gateway_host)] if platform.has_tls else found


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _bound(host: str, port: int, setting: str) -> socket.socket:
    """A process that was just killed has its ports for a moment longer than its name."""
    until = time.monotonic() + LETS_GO_S
    while True:
        trial = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
        except OSError as error:
            trial.close()
            lasting = error.errno != errno.EADDRINUSE or portholder.describe(port)
            if lasting or time.monotonic() > until:
                raise portholder.problem(host, port, error, setting) from error
            time.sleep(LOOK_S)
        else:
            return trial


def _wait(home: Home, missing: list[str]) -> None:
    deadline = time.monotonic() + START_S
    left = list(missing)
    while left:
        left = [name for name in left if not answers(home, name)]
        for name in left:
            if (report := failure(home, name)) is not None:
                raise from_detail(report.status, report.error)
        if left and time.monotonic() > deadline:
            log = log_tail(home, left[0])
            raise Unavailable(
                f"the {left[0]} does not answer after {START_S:g} s; its log ends: {log[-1] if log else 'empty'}",
                code="START_TIMEOUT",
                hint=f"see {home.logs / left[0]}.log",
                log=log,
            )
        time.sleep(LOOK_S if left else 0)


def _running(engine: RemoteEngine) -> list[Attempt]:
    return [each for each in engine.snapshot() if each.state not in (ASLEEP, EXITED)]


def _stop_units(home: Home) -> int:
    """Through the node, which is started for it when it does not run: units outlive it."""
    if not (home.path / "units").is_dir():
        return 0
    if not answers(home, NODE):
        keeper.start_part(home, NODE)
        _wait(home, [NODE])
    engine = RemoteEngine(home.node_socket)
    try:
        node = engine.state().node
        running = _running(engine)
        engine.drain(node, UNITS_S, "bough down")
        deadline = time.monotonic() + UNITS_S
        while _running(engine) and time.monotonic() < deadline:
            time.sleep(0.05)
        engine.drain(node, 0.0, "bough down")  # now that no replica uses them, the zygotes too
        return len(running)
    finally:
        engine.close()
