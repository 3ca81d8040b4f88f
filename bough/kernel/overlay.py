"""Copy on write at the first change, without root: an overlay in namespaces of one program's own.

A tree's folder holds four others: `lower` (hard links to the blobs, or a link to a folder that nobody changes), `upper`
(what the program changes), `work` (the kernel's) and `tree`, over which the overlay is mounted. The mount is seen by
the program and what that starts, by nobody else, and is gone with the last of them, however they went: there is nothing
to unmount.

Inside, the program is who it is outside, with the right to write where a file's mode says no (the links have the mode
of the blobs, 0444); the kernel then copies the file into `upper` and never touches the blob. `lower` itself is covered,
so that not even a program that looks for it finds a link. What such a tree cannot do: give a file to another user
(nobody else is known in there), rename a folder of the dataset at one go (`rename` says EXDEV, and `mv` copies).

Rejected: to stay root inside, as `--map-root-user` alone leaves it: tar would try to give files away, and fail.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bough.kernel.trees import remove_tree

LOWER, UPPER, WORK, TREE = "lower", "upper", "work", "tree"
TRY_S = 10.0
_OPAQUE = "user.overlay.opaque"  # of a folder in `upper` that shows nothing of the one below it
_OPTIONS = {
    True: f"userxattr,volatile,lowerdir={LOWER},upperdir={UPPER},workdir={WORK}",  # a tree outlives no crash: no syncs
    False: f"ro,userxattr,lowerdir={LOWER}:{UPPER}",  # two layers below and none above: nobody can write, root neither
}

_DURABLE = f"userxattr,lowerdir={LOWER},upperdir={UPPER},workdir={WORK}"


def launcher(folder: Path, *, writable: bool, durable: bool = False, as_user: int | None = None) -> list[str]:
    """What to put before a command so that it finds the overlay at `folder/tree`. Becomes the command without a
    process in between; in a unit not together with `confine`, which forbids mounting.

    Works once for a folder: what a crash of the machine leaves there is not to be trusted. A `durable` one can be
    mounted again whenever nobody has it mounted, and what was synced in it is there. `as_user`: who the program is
    inside, in its own eyes and for programs that refuse to run as root; files stay those of who it is outside."""
    unshare, mount = shutil.which("unshare") or "unshare", shlex.quote(shutil.which("mount") or "mount")
    script = "\n".join(
        [
            *("set -e", "here=$PWD", 'cd -- "$1"'),  # relative names: a colon or comma in a path would be an option
            f"{mount} -t overlay -o {_DURABLE if durable else _OPTIONS[writable]} overlay {TREE}",
            f"{mount} -t tmpfs -o ro,size=4k tmpfs {LOWER}",
            *('cd -- "$here"', "shift", 'exec "$@"'),
        ]
    )
    user, group = (os.geteuid(), os.getegid()) if as_user is None else (as_user, as_user)
    inside = [unshare, "--user", f"--map-user={user}", f"--map-group={group}", "--keep-caps", "--"]
    return [
        *(unshare, "--user", "--map-root-user", "--mount", "--"),
        *("/bin/sh", "-c", script, "bough-tree", str(folder), *inside),
    ]


def why_not(folder: Path) -> str:
    """Why there can be no overlay in `folder`; empty where one works: it is made, written through, and looked at."""
    for tool in ("unshare", "mount"):
        if shutil.which(tool) is None:
            return f"the program {tool} (util-linux) is not installed"
    if folder.stat().st_uid != os.geteuid():
        return f"{folder} belongs to another user"  # who is nobody in a namespace of ours
    if not os.access(folder, os.W_OK):
        return f"{folder} is not writable"
    place = Path(tempfile.mkdtemp(prefix=".overlay-", dir=folder))
    try:
        for name in (LOWER, UPPER, WORK, TREE):
            (place / name).mkdir()
        blob, link = place / "blob", place / LOWER / "link"
        blob.write_text("one")
        blob.chmod(0o444)
        os.link(blob, link)
        inside = 'cd "$1" && printf two > link && mv link moved && test "$(cat moved)" = two'
        command = [*launcher(place, writable=True), "/bin/sh", "-c", inside, "try", str(place / TREE)]
        ended = subprocess.run(command, capture_output=True, timeout=TRY_S, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - ours
        if ended.returncode:
            said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
            return said[0] if said else f"unshare ended with {ended.returncode}"
        if blob.read_text() != "one" or (place / UPPER / "moved").read_text() != "two":
            return "a change in the overlay reached what lies below it"
        return ""
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    finally:
        remove_tree(place)


def is_gone(entry: os.DirEntry[str]) -> bool:
    """Whether this entry of `upper` says that what lies below it was removed."""
    status = entry.stat(follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(folder: str) -> bool:
    try:
        return os.getxattr(folder, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def files_below(folder: Path) -> Iterator[str]:
    """The paths of all files in `lower`, relative and with `/`."""
    start = len(os.fspath(folder)) + 1
    for place, _, names in os.walk(folder):
        for name in names:
            yield f"{place}/{name}"[start:]
