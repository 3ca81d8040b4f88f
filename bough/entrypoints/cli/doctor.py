"""`bough doctor`: what this machine can isolate, copy, accelerate and build."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bough.adapters.accelerators.chosen import accelerators
from bough.adapters.engine import isolation
from bough.data.trees import CLONE, COPY, OVERLAY, ways
from bough.entrypoints.cli.drawing import GREEN, RED, YELLOW, columns_of, paint, size
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.entrypoints.processes import PARTS, answers, listening
from bough.gateway import portholder
from bough.kernel import platform as settings
from bough.kernel.errors import Problem
from bough.kernel.platform import Home
from bough.secrets.vault import Vault

LOW_DISK_BYTES = 2 << 30
ASK_S = 5.0
YES, NO, PROBLEM = "yes", "no", "problem"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: yes, no (something optional is missing), problem (something needed is)."""

    area: str
    name: str
    state: str
    detail: str = ""
    hint: str = ""


def run(session: Session) -> None:
    home = session.home
    findings = [
        *(*_machine(home), *_processes(home), *_tools(), *_limits(), *_accelerators()),
        *(_master_key(home), *_isolation(home), *_trees(home)),
    ]
    problems = [each for each in findings if each.state == PROBLEM]
    answer = {"findings": findings, "problems": len(problems)}
    session.answer(msgspec.to_builtins(answer), text=_text(session, findings, problems))


def _machine(home: Home) -> list[Finding]:
    folder = home.path
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    enough = free >= LOW_DISK_BYTES
    writable = os.access(folder, os.W_OK)
    cpus = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return [
        Finding(area="machine", name="system", state=YES, detail=platform.platform()),
        Finding(area="machine", name="cpus", state=YES, detail=f"{cpus}, {size(memory)} of memory"),
        Finding(area="machine", name="home", state=YES if writable else PROBLEM, detail=str(home.path),
                hint="" if writable else f"make {folder} writable, or set BOUGH_HOME"),
        Finding(area="machine", name="disk", state=YES if enough else PROBLEM, detail=f"{size(free)} free",
                hint="" if enough else f"free some space (df -h {folder})"),
    ]  # fmt: skip


def _processes(home: Home) -> list[Finding]:
    found, chosen = [], settings.load(home.path)
    ports = {"gateway": chosen.gateway_port, "server": chosen.api_port}
    for name in PARTS:
        if answers(home, name):
            at = listening(home, name)
            found.append(Finding(area="bough", name=name, state=YES, detail=f"on port {at.port}" if at else "runs"))
            continue
        holder = portholder.describe(ports[name]) if name in ports else ""
        detail = f"not running; its port {ports[name]} is used by {holder}" if holder else "not running"
        hint = f"bough up --{'api' if name == 'server' else name}-port PORT" if holder else "bough up"
        found.append(Finding(area="bough", name=name, state=PROBLEM if holder else NO, detail=detail, hint=hint))
    return found


def _tools() -> list[Finding]:
    uv = _uv()
    found = [
        Finding(area="build", name="python", state=YES, detail=f"{platform.python_version()} ({sys.executable})"),
        Finding(area="build", name="uv", state=YES if uv else PROBLEM, detail=uv or "not found",
                hint="" if uv else "pip install uv"),
    ]  # fmt: skip
    for tool in ("docker", "podman"):
        version = _said(tool, "version", "--format", "{{.Server.Version}}") if shutil.which(tool) else ""
        why = version or ("installed, but its engine does not answer" if shutil.which(tool) else "not installed")
        found.append(Finding(area="build", name=tool, state=YES if version else NO, detail=why))
    return found


def _limits() -> list[Finding]:
    """What the limits and figures of `resources` are worth here."""
    said = {
        "memory": (YES, "resources.memory_mb: measured once a second, a unit above it is ended"),
        "cpu": (NO, "resources.cpus is part of the plan and limits nothing yet: units share the machine's cores"),
        "gpu share": (NO, "resources.gpus = 0.5 places two on a device and limits PyTorch's memory in services only"),
    }  # fmt: skip
    return [Finding(area="limits", name=name, state=state, detail=detail) for name, (state, detail) in said.items()]


def _accelerators() -> list[Finding]:
    """What `resources.gpus` can give."""
    found = accelerators().devices()
    if not found:
        why = "none that NVIDIA's driver tells of; BOUGH_ACCELERATORS=t4:2 bough up makes some up, to try placing"
        return [Finding(area="accelerators", name="gpus", state=NO, detail=why)]
    return [
        Finding(area="accelerators", name=each.kind, state=YES,
                detail=f"{each.name}, {each.memory_mb >> 10} GB, {each.id}" if each.name else f"made up, {each.id}")
        for each in found
    ]  # fmt: skip


def _master_key(home: Home) -> Finding:
    vault = Vault(home.path, os.environ)
    if not vault.exists:
        return Finding(area="secrets", name="master key", state=NO, detail="none yet: made with the first secret")
    try:
        vault.check()
    except Problem as problem:
        return Finding(area="secrets", name="master key", state=PROBLEM, detail=problem.message, hint=problem.hint)
    detail = f"{vault.path}; is there a copy elsewhere? nothing opens without it"
    return Finding(area="secrets", name="master key", state=YES, detail=detail)


def _isolation(home: Home) -> list[Finding]:
    place = home.path if home.path.is_dir() else None
    return [
        Finding(
            area="isolation",
            name=rung.name,
            state=YES if rung.available else NO,
            detail=f"{rung.gives}{f' ({rung.detail})' if rung.detail else ''}" if rung.available else rung.why_not,
        )
        for rung in isolation.probe(place)
    ]


def _trees(home: Home) -> list[Finding]:
    """The ways in which a program can be given a dataset to write in, the best first (`bough data run`)."""
    about = {
        CLONE: "files that share their blocks until changed",
        OVERLAY: "each file is copied when it is first changed",
        COPY: "everything is copied before the program begins",
    }
    with contextlib.ExitStack() as stack:
        place = home.path if home.path.is_dir() else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = ways(place)
    return [
        Finding(area="data trees", name=each.name, state=YES if each.available else NO,
                detail=about[each.name] if each.available else each.why_not)
        for each in found
    ]  # fmt: skip


def _uv() -> str:
    try:
        from uv import find_uv_bin  # a wheel that is all binary: only asked for here

        path = find_uv_bin()
    except (ImportError, FileNotFoundError):
        path = shutil.which("uv") or ""
    return f"{_said(path, '--version')} ({Path(path)})" if path else ""


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _text(session: Session, findings: list[Finding], problems: list[Finding]) -> str:
    lines = columns_of([["", "", "", ""], *([each.area, each.name, each.state, each.detail] for each in findings)])
    colours = {YES: GREEN, NO: YELLOW, PROBLEM: RED}
    drawn = [
        line.replace(f"  {each.state}  ", f"  {paint(each.state, colours[each.state], session.colour)}  ", 1)
        for line, each in zip(lines.splitlines()[1:], findings, strict=True)
    ]
    drawn += [f"\nproblem: {each.name}: {each.detail}\n    try: {each.hint}" for each in problems]
    return "\n".join(drawn)


command = make(
    "doctor",
    "Shows what this machine can do.\n\nWhat can be isolated, copied, accelerated and built here, what Bough runs, "
    "and what is in the way. Everything is tried, nothing is assumed.",
    [],
    run,
)
