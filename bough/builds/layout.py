"""Where a container's paths lie outside a container.

Most Dockerfiles copy the project as it is into one folder; then the bundle is that folder. Others rearrange it: then
the rearranged files are a bundle of their own, unpacked from the same blobs like any other.
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Iterable

import msgspec

from bough.builds.models import Bundle, Entry
from bough.builds.recipe import Copy, Recipe, unsupported

_WILD = frozenset("*?[")


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """`bundle` is None when the project's own bundle serves. `workdir` is relative to the unpacked bundle; `places`
    maps a container's absolute paths to paths relative to it."""

    bundle: Bundle | None
    workdir: str
    places: dict[str, str]


def plan_layout(recipe: Recipe, bundle: Bundle, name: str = "Dockerfile") -> Layout:
    """Raises `Invalid` (DOCKERFILE_UNSUPPORTED) for a COPY of something that the bundle does not have."""
    targets = {copy: _targets(copy, bundle, name) for copy in recipe.copies}
    if (root := _common_root(recipe, targets.values())) is not None:
        return Layout(bundle=None, workdir=posixpath.relpath(recipe.workdir, root), places={root: "."})
    files: dict[str, Entry] = {}
    for moved in targets.values():  # later ones overwrite earlier ones, as in a container
        files |= {path: entry for path, entry in moved}
    entries = tuple(msgspec.structs.replace(files[path], path=path.lstrip("/")) for path in sorted(files))
    tops = {"/" + path.split("/")[1] for path in files}
    return Layout(
        bundle=Bundle(entries=entries), workdir=recipe.workdir.lstrip("/") or ".",
        places={top: top.lstrip("/") for top in sorted(tops)},
    )  # fmt: skip


def place_in_context(path: str, copies: Iterable[Copy]) -> str | None:
    """Where in the build context a container's `path` was copied from; None when no COPY accounts for it. Judged by
    the text alone: a source with an ending is taken for a file."""
    for copy in reversed(list(copies)):
        if _WILD & set(copy.source):
            inside = posixpath.dirname(path) == copy.target
            if inside and fnmatch.fnmatchcase(posixpath.basename(path), posixpath.basename(copy.source)):
                return posixpath.join(posixpath.dirname(copy.source), posixpath.basename(path))
            continue
        as_file = posixpath.join(copy.target, posixpath.basename(copy.source)) if copy.into else copy.target
        has_ending = "." in posixpath.basename(copy.source).strip(".")
        if has_ending and path == as_file:
            return copy.source
        below = posixpath.relpath(path, copy.target)
        if not below.startswith("..") and not (has_ending and copy.into):
            return posixpath.normpath(posixpath.join(copy.source, below))
    return None


def _targets(copy: Copy, bundle: Bundle, name: str) -> list[tuple[str, Entry]]:
    """The files that a COPY takes, each with its place in the container."""
    wild = bool(_WILD & set(copy.source))
    result: list[tuple[str, Entry]] = []
    for entry in bundle.entries:
        matched = _matched(copy.source, entry.path, wild=wild)
        if matched is None:
            continue
        if matched == entry.path:  # a file: its own name, or the target's
            into = copy.into or wild
            place = posixpath.join(copy.target, posixpath.basename(entry.path)) if into else copy.target
        else:  # the content of a folder, not the folder
            place = posixpath.join(copy.target, entry.path[len(matched) :].lstrip("/"))
        result.append((place, entry))
    if not result and not wild and copy.source != ".":
        raise unsupported(name, copy.line, "COPY", f"the bundle has no {copy.source} (is it in .boughignore?)")
    return result


def _matched(source: str, path: str, *, wild: bool) -> str | None:
    """The part of `path` that `source` names: all of it, or the folders above; None when it does not."""
    if source == ".":
        return ""
    if not wild:
        return source if path == source or path.startswith(source + "/") else None
    depth = source.count("/") + 1
    head = "/".join(path.split("/")[:depth])
    parts = zip(head.split("/"), source.split("/"), strict=False)
    if head.count("/") + 1 != depth or not all(fnmatch.fnmatchcase(part, pattern) for part, pattern in parts):
        return None
    return head


def _common_root(recipe: Recipe, moved: Iterable[list[tuple[str, Entry]]]) -> str | None:
    """The one folder below which every copied file stands at its path in the bundle, if the working folder is in it.
    Files that only the installation needed (a requirements file in /tmp) do not count against it."""
    root: str | None = None
    for files in moved:
        for place, entry in files:
            if entry.path in recipe.requirements:
                continue
            if not place.endswith("/" + entry.path):
                return None
            this = place[: -len(entry.path)].rstrip("/") or "/"
            if root not in (None, this):
                return None
            root = this
    root = root or recipe.workdir
    inside = recipe.workdir == root or recipe.workdir.startswith(root.rstrip("/") + "/")
    return root if inside else None
