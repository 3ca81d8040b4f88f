"""`bough data mount`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from bough.data.mounts import Mounted, mount
from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.drawing import size
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel import trees
from bough.kernel.errors import Invalid

HOW = {
    "link": "hard links to the blobs, read-only, no bytes of its own",
    "clone": "clones that share their blocks with the blobs until they are changed",
    "copy": "copies",
}


def run(session: Session, target: str, folder: Path, project: str, environment: str, at: str, writable: bool) -> None:
    if session.remote:
        raise Invalid("the blobs are on another machine", code="MOUNT_REMOTE", hint=f"bough data get {target} {folder}")
    dataset, path = data_store.target(target)
    files, change = data_store.tree(session, data_store.project_of(project), target.strip("/"), environment, at)
    blobs = data_store.blobs_here(session)
    if writable and not trees.can_clone(_nearest(folder)):
        total = size(sum(each.size for each in files))
        session.note(f"copying {total}: this file system shares no blocks; bough data run {target} --writable need not")
    made = mount(files, f"{dataset}/{path}".rstrip("/"), blobs, folder.absolute(), writable=writable)
    session.answer(msgspec.to_builtins(made) | {"dataset": dataset, "change": change}, text=_text(made))


def _nearest(folder: Path) -> Path:
    return next(each for each in folder.absolute().parents if each.is_dir())


def _text(made: Mounted) -> str:
    copied = f" ({made.copied:,} files, {size(made.copied_bytes)})" if made.copied else ""
    line = f"{made.folder}: {made.files:,} files, {size(made.bytes)} in {made.seconds:.2f} s"
    return f"{line}\n  how: {HOW[made.how]}{copied}"


command = make(
    "mount",
    "Shows a dataset as a folder, without copying it.\n\nRead-only: hard links, which share the blobs' bytes. "
    "Writable: files of their own, cloned where the file system can do that, else copied; the answer says which. "
    "`bough data run` gives a program a folder to write in without a copy.",
    [
        click.Argument(["target"], metavar="DATASET[/PATH]", help="What to show."),
        click.Argument(
            ["folder"], metavar="DIR", type=click.Path(path_type=Path), help="A folder that is not there yet."
        ),
        *data_store.common(at=True),
        click.Option(["--writable"], is_flag=True, help="Files that may be changed; the dataset stays as it is."),
    ],
    run,
    examples="Examples:\n  bough data mount images /tmp/images\n  bough data mount images work --writable --at v1",
)
