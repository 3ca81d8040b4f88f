"""What servers of databases need of the system: a folder with a short name for sockets, and an ordinary user."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NOBODY = 65_534
SOCKET_BYTES = 90  # of a folder for sockets: the system allows 107 with the socket's own name


def sockets_of(place: Path) -> Path:
    """A folder with a short name, for the sockets of the server that lies in `place`."""
    own = place / "s"
    if len(str(own)) <= SOCKET_BYTES:
        return own
    name = hashlib.sha256(str(place).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"bough-{os.geteuid()}-{name}"


def as_nobody() -> list[str]:
    """What root puts before a command that is not to run as root: a user namespace in which root is `nobody`. No
    system user is added, and files stay root's."""
    return ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]


@functools.cache
def namespaces_allowed() -> bool:
    """Whether `as_nobody` works here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*as_nobody(), "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
