"""`bough data verify`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.drawing import size
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Problem


def run(session: Session, target: str, project: str, environment: str, at: str, source: Path | None) -> None:
    client, project = session.client(), data_store.project_of(project)
    wrong: list[dict[str, Any]] = []
    last: Any = None
    for each in client.files.verify(project=project, path=target, environment=environment, at=at):
        last = each
        if path := each.get("path", ""):
            dataset, _, inside = path.partition("/")
            wrong.append({"dataset": dataset, "path": inside, "digest": each.digest, "problem": each.problem})
            session.note(f"  {each.problem}: {path} ({each.digest})")
        else:
            session.note(
                f"  read {size(each.bytes)} of {size(each.total_bytes)}, {each.files:,} of {each.total_files:,} files"
            )
    for found in wrong:
        found["healed"] = source is not None and _heal(session, source, found)
    left = [found for found in wrong if not found["healed"]]
    if left:
        first = left[0]
        raise Problem(
            f"{len(left)} of {last.files:,} files cannot be read, such as {first['dataset']}/{first['path']}; "
            f"blob {first['digest']} is {first['problem']}",
            code="FILES_DAMAGED", hint="bough data verify --from DIR, or put the original again", files=wrong,
        )  # fmt: skip
    healed = f", {len(wrong)} healed" if wrong else ""
    text = f"{last.files:,} files, {size(last.bytes)}: all as they were stored{healed}"
    session.answer({"files": last.files, "bytes": last.bytes, "healed": wrong}, text=text)


def _heal(session: Session, source: Path, wrong: dict[str, Any]) -> bool:
    """Sends the right content from `source` if it has it: a folder of blobs, or a copy of the dataset."""
    digest = wrong["digest"]
    shelf = f"{digest[:2]}/{digest[2:]}"
    places = [f"blobs/sha256/{shelf}", f"sha256/{shelf}", f"{wrong['dataset']}/{wrong['path']}", wrong["path"]]
    for place in (source / each for each in places):
        if not place.is_file():
            continue
        with place.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() == digest:
                content.seek(0)
                session.client().upload(digest, content, place.stat().st_size)
                session.note(f"  healed: {wrong['dataset']}/{wrong['path']} from {place}")
                return True
    return False


command = make(
    "verify",
    "Reads every file and checks it against its digest.\n\nWhat is damaged is named and set aside; --from heals it "
    "from another home, a folder of blobs, or a copy of the files. Putting the original again heals as well.",
    [
        click.Argument(["target"], default="", required=False, metavar="[DATASET[/PATH]]", help="All without it."),
        *data_store.common(at=True),
        click.Option(["--from", "source"], metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False),
                     help="Where right copies may be."),
    ],
    run,
    examples="Examples:\n  bough data verify\n  bough data verify images --from /backup/images",
)  # fmt: skip
