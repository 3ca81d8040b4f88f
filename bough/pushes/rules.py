"""Pure decisions about pushes: which folder of a tree is the project, and which refs are put back."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from statistics import median

from bough.adapters.repositories import BRANCHES, Item
from bough.kernel.errors import Invalid, ProjectFileInvalid
from bough.kernel.project import FILE_NAME
from bough.pushes.models import LIVE, Push, Pushes

LIVE_REFS = "refs/bough/live/"  # per branch: the commit that a push made live; hidden from clients
SHOWN_PATHS = 5
_LFS = b"version https://git-lfs.github.com/spec/"
LARGEST_POINTER_BYTES = 1024


def branch_of(ref: str) -> str:
    """The branch that a ref is; empty for tags, notes and the like, which become no environment."""
    return ref.removeprefix(BRANCHES) if ref.startswith(BRANCHES) else ""


def is_text(name: str) -> bool:
    """Whether a ref's name is UTF-8; git takes any bytes."""
    return not any("\udc80" <= each <= "\udcff" for each in name)


def project_files(tree: Sequence[Item]) -> list[Item]:
    """Every project file of a tree, the outermost first."""
    found = [each for each in tree if each.kind == "file" and PurePosixPath(each.path).name == FILE_NAME]
    return sorted(found, key=lambda each: (each.path.count("/"), each.path))


def project_folder(project: str, texts: Mapping[str, bytes]) -> str:
    """The folder of the tree (empty: its root) whose bough.toml names `project`. A repository may hold several
    projects: each has a remote of its own. A single project file is taken whatever it says, so that what is wrong with
    it is told. Raises `ProjectFileInvalid`."""
    if not texts:
        raise ProjectFileInvalid(
            f"there is no {FILE_NAME} in this commit", code="PROJECT_FILE_MISSING",
            hint="bough init, git add, git commit, and push again", file=FILE_NAME,
        )  # fmt: skip
    names = {path: _name(text) for path, text in texts.items()}
    mine = [path for path, name in names.items() if name == project]
    if not mine and len(names) == 1 and not next(iter(names.values())):
        mine = list(names)
    if len(mine) == 1:
        return str(PurePosixPath(mine[0]).parent).removeprefix(".")
    if mine:
        raise ProjectFileInvalid(
            f"{len(mine)} files of this commit name the project {project!r}: {', '.join(mine[:SHOWN_PATHS])}",
            code="PROJECT_AMBIGUOUS", hint="give each project a name of its own", file=mine[0],
        )  # fmt: skip
    there = ", ".join(f"{path} is {name or 'without a name'}" for path, name in list(names.items())[:SHOWN_PATHS])
    other = next(filter(None, names.values()), project)
    raise ProjectFileInvalid(
        f"this remote is of the project {project!r}, and the commit has none of that name; {there}",
        code="PROJECT_MISMATCH", hint=f"git remote set-url bough URL/git/{other}", file=next(iter(names)),
    )  # fmt: skip


def absent_content(tree: Sequence[Item], pointers: Sequence[str]) -> Iterator[str]:
    """What a checkout would have had and a push does not bring, in words for the pusher."""
    if modules := [each.path for each in tree if each.kind == "submodule"]:
        yield f"submodules are not part of a push and stay empty: {_some(modules)}; bough deploy sends them"
    if pointers:
        yield f"of files in Git LFS only the pointers came: {_some(pointers)}; bough deploy sends them"


def is_pointer(content: bytes) -> bool:
    return content.startswith(_LFS)


def put_back(
    refs: Mapping[str, str], live: Mapping[str, str], busy: set[str], kept: set[str]
) -> Iterator[tuple[str, str, str]]:
    """Branches (`ref`, is, becomes) to set back to what is live, before the next push begins: a commit that did not
    become live, or whose environment was discarded since, would otherwise be "up to date" when it is pushed again.
    `busy` are pushed at this moment; `kept` are the branches that have an environment."""
    for ref, commit in refs.items():
        branch = branch_of(ref)
        if not branch or ref in busy:
            continue
        wanted = live.get(LIVE_REFS + branch, "") if branch in kept else ""
        if wanted != commit:
            yield ref, commit, wanted


def summary(pushes: list[Push]) -> Pushes:
    seconds = [each.seconds for each in pushes if each.state == LIVE]
    if not seconds:
        return Pushes(pushes=pushes)
    return Pushes(
        pushes=pushes, live=len(seconds), median_s=round(median(seconds), 3), slowest_s=round(max(seconds), 3)
    )


def check_inside(path: str, inside: bool) -> None:
    if not inside:
        raise Invalid(
            f"the folder {path!r} of a service lies outside of the commit", code="FOLDER_OUTSIDE",
            hint=f"edit {FILE_NAME}: `path` names a folder beside it", path=path,
        )  # fmt: skip


def _name(text: bytes) -> str:
    try:
        name = tomllib.loads(text.decode()).get("name", "")
    except (ValueError, RecursionError):
        return ""
    return name if isinstance(name, str) else ""


def _some(paths: Sequence[str]) -> str:
    more = len(paths) - SHOWN_PATHS
    return ", ".join(paths[:SHOWN_PATHS]) + (f" and {more} more" if more > 0 else "")
