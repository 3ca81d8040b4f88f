"""What this machine can hold a unit to: a ladder of rungs, each probed, never assumed. `bough doctor` shows it.

Applied to every unit: rlimits, no_new_privs, watched memory and process limits. Applied when asked for: Landlock
(`confine`). The others are reported, so that a person knows what a stronger boundary would need here.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bough.kernel.files import FICLONE

_LANDLOCK_CREATE_RULESET, _LANDLOCK_VERSION = 444, 1
_TRY_TIMEOUT_S = 5.0


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    available: bool
    gives: str
    detail: str = ""  # a version or path
    why_not: str = ""


def probe(folder: Path | None = None) -> list[Rung]:
    """The ladder, weakest first. `folder` (the home) is where reflinks are tried; nothing stays behind there."""
    return [
        _rlimits(), _no_new_privs(), _landlock(), _user_namespaces(), _bubblewrap(), _cgroups(), _gpu(),
        _reflink(folder or Path(tempfile.gettempdir())),
    ]  # fmt: skip


def landlock_abi() -> int:
    """Version of Landlock in this kernel; 0 when it has none or has it switched off."""
    found: int = ctypes.CDLL(None).syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    return max(0, found)


def _rlimits() -> Rung:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return Rung(
        name="rlimits", available=True, gives="limits on open files; no core dumps", detail=f"up to {files} open files"
    )


def _no_new_privs() -> Rung:
    has = "NoNewPrivs:" in Path("/proc/self/status").read_text("utf-8")
    return Rung(
        name="no_new_privs", available=has, gives="a unit gains no rights through setuid programs",
        why_not="" if has else "the kernel is older than 3.5",
    )  # fmt: skip


def _landlock() -> Rung:
    abi = landlock_abi()
    return Rung(
        name="landlock", available=abi > 0, gives="`confine`: a unit writes only to its own folders",
        detail=f"ABI {abi}" if abi else "",
        why_not="" if abi else "the kernel is older than 5.13, or its list of security modules (lsm=) lacks Landlock",
    )  # fmt: skip


def _user_namespaces() -> Rung:
    """Tried in a process of its own: whether they work depends on sysctls, AppArmor and container rules."""
    gives = "a private view of files, processes and network without root"
    child = (
        "import ctypes,os,sys;"
        "libc=ctypes.CDLL(None,use_errno=True);"
        "sys.exit(0 if libc.unshare(0x10000000)==0 else ctypes.get_errno())"
    )
    try:
        command = [sys.executable, "-I", "-S", "-c", child]
        ended = subprocess.run(command, timeout=_TRY_TIMEOUT_S, check=False)  # noqa: S603 - our own constant
    except (OSError, subprocess.TimeoutExpired) as error:
        return Rung(name="user_namespaces", available=False, gives=gives, why_not=str(error))
    why_not = "" if ended.returncode == 0 else f"unshare: {os.strerror(ended.returncode)}"
    return Rung(name="user_namespaces", available=not why_not, gives=gives, why_not=why_not)


def _bubblewrap() -> Rung:
    gives = "a read-only system around a unit"
    path = shutil.which("bwrap")
    if path is None:
        return Rung(name="bubblewrap", available=False, gives=gives, why_not="the program bwrap is not installed")
    try:
        command = [path, "--ro-bind", "/", "/", "--unshare-pid", "true"]
        ended = subprocess.run(command, timeout=_TRY_TIMEOUT_S, check=False, capture_output=True)  # noqa: S603 - ours
    except (OSError, subprocess.TimeoutExpired) as error:
        return Rung(name="bubblewrap", available=False, gives=gives, why_not=str(error))
    why_not = ended.stderr.decode("utf-8", "replace").strip() if ended.returncode else ""
    return Rung(name="bubblewrap", available=not ended.returncode, gives=gives, detail=path, why_not=why_not)


def _cgroups() -> Rung:
    """Version 2, and our own group writable, so that groups for units can be made below it."""
    gives = "memory and CPU limits could be kept by the kernel; units are not put into groups yet"
    lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::")), "")
    root = Path("/sys/fs/cgroup")
    if not (root / "cgroup.controllers").exists():
        return Rung(name="cgroups", available=False, gives=gives, why_not="no cgroup v2 at /sys/fs/cgroup")
    group = root / own.lstrip("/")
    if not os.access(group, os.W_OK) or not os.access(group / "cgroup.procs", os.W_OK):
        return Rung(name="cgroups", available=False, gives=gives, why_not=f"{group} is not writable for this user")
    controllers = (group / "cgroup.controllers").read_text("utf-8").split()
    missing = sorted({"memory", "cpu"} - set(controllers))
    why_not = f"not delegated to {group}: {', '.join(missing)}" if missing else ""
    return Rung(name="cgroups", available=not missing, gives=gives, detail=str(group), why_not=why_not)


def _gpu() -> Rung:
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    return Rung(
        name="gpu", available=bool(devices), gives="units can use NVIDIA GPUs", detail=", ".join(devices),
        why_not="" if devices else "there is no /dev/nvidia0: no GPU, or its driver is not loaded",
    )  # fmt: skip


def _reflink(folder: Path) -> Rung:
    gives = "copies of files that share their blocks until changed"
    try:
        with tempfile.TemporaryFile(dir=folder) as source, tempfile.TemporaryFile(dir=folder) as copy:
            source.write(b"x" * 4096)
            source.flush()
            fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
    except OSError as error:
        unsupported = error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV)
        why_not = f"the file system of {folder} cannot" if unsupported else f"{folder}: {error.strerror}"
        return Rung(name="reflink", available=False, gives=gives, why_not=why_not)
    return Rung(name="reflink", available=True, gives=gives, detail=str(folder))
