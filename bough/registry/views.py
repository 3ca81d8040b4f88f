"""What units see of registered models: `<root>/<digest>/files/…`, read-only hard links, with the list of files beside.

A view is named by its content and shared by all that load it, so that a branch wakes in the zygote of its parent. It is
made from blobs that are read once while it is made. Whoever loads it checks it again (`runtime/verified.py`): a link
shows whatever the disk, or somebody who may write there, has made of the blob since.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.data.making import Making
from bough.data.models import File
from bough.environments.models import ModelPin
from bough.kernel import trees
from bough.kernel.errors import NotFound
from bough.kernel.trees import Leaf
from bough.registry import rules, store, trusting
from bough.registry.bundles import tampered
from bough.registry.checking import check_bytes
from bough.registry.models import Place
from bough.runtime.spec import RegisteredModel

FILES, LIST_NAME = "files", "files.json"
_READS_KEPT = 1000


class ModelViews:
    def __init__(self, root: Path, blobs: Blobs) -> None:
        self._root, self._blobs = root, blobs
        self._making = Making("model")
        self._read: dict[Path, None] = {}  # what was read for whom, the latest last

    def ensure(
        self, tx: sa.Connection, place: Place, pins: Mapping[str, ModelPin], reader: str = ""
    ) -> dict[str, RegisteredModel] | None:
        """Where these versions lie; None while that is being made: ask again. Raises what the environment's trust says
        against one of them, and what is wrong with its files, by name. With `reader` they are read for whoever that is
        even if they lie there already: for programs that do not check them by themselves."""
        found: dict[str, RegisteredModel] | None = {}
        for name, pin in pins.items():
            files = self._listed(pin)
            trusting.check(tx, place, store.by_id(tx, pin.id), files, self._blobs)
            target = self._root / pin.digest
            if not self._is_ready(target, pin, files, reader):
                found = None
            elif found is not None:
                folder = str(target / FILES)
                found[name] = RegisteredModel(reference=pin.reference, folder=folder, digest=pin.digest)
        return found

    def check(self, tx: sa.Connection, place: Place, pins: Mapping[str, ModelPin]) -> None:
        """Raises what the environment's trust says against one of them; reads none of their files."""
        for pin in pins.values():
            trusting.check(tx, place, store.by_id(tx, pin.id), self._listed(pin), self._blobs)

    def sweep(self, used: Collection[str]) -> None:
        """Removes views that nothing loads any more; links cost no bytes while their blobs are kept."""
        if self._root.is_dir():
            for each in self._root.iterdir():
                if not each.name.startswith(".") and each.name not in used:
                    trees.remove_tree(each)

    def _is_ready(self, target: Path, pin: ModelPin, files: Sequence[File], reader: str) -> bool:
        if not target.is_dir() or self._is_stale(target, files):
            self._making.start(target, lambda: self._make(target, pin, files))
            return False
        asked = target / reader
        if not reader or asked in self._read:
            return True
        self._making.start(asked, lambda: self._check(asked, pin, files))
        return False

    def _is_stale(self, target: Path, files: Sequence[File]) -> bool:
        """Whether a blob has been put anew since (`bough data verify --from` heals so): the link still shows the old
        one. Files that had to be copied are on another disk, or may run."""
        for file in files:
            place = target / FILES / file.path
            try:
                blob = self._blobs.local_path(file.digest)
                if blob is None or file.executable:
                    continue
                mine, kept = place.stat(), blob.stat()
            except NotFound:  # nothing to make it from
                continue
            except FileNotFoundError:
                return True
            if mine.st_dev == kept.st_dev and mine.st_ino != kept.st_ino:
                return True
        return False

    def _listed(self, pin: ModelPin) -> list[File]:
        return rules.files_in(self._blobs.read(pin.digest))

    def _make(self, target: Path, pin: ModelPin, files: Sequence[File]) -> None:
        check_bytes(self._blobs, files, pin.reference)
        leaves = [
            Leaf(path=each.path, digest=each.digest, size=each.size, executable=each.executable) for each in files
        ]
        rules.check(list(files), {})

        def fill(building: Path) -> None:
            building.mkdir(parents=True)
            trees.lay_out(leaves, self._blobs, building / FILES, checked=False)
            (building / LIST_NAME).write_bytes(self._blobs.read(pin.digest))
            (building / LIST_NAME).chmod(0o444)
            trees.close_folders(building)

        if target.is_dir():
            old = target.with_name(f".{target.name}.old")
            trees.remove_tree(old)
            target.rename(old)  # what has been loaded from there goes on
            trees.remove_tree(old)
        trees.make(target, fill)

    def _check(self, asked: Path, pin: ModelPin, files: Sequence[File]) -> None:
        check_bytes(self._blobs, files, pin.reference)
        folder = self._root / pin.digest / FILES
        there = {each.relative_to(folder).as_posix() for each in folder.rglob("*") if not each.is_dir()}
        if odd := sorted(there ^ {each.path for each in files}):
            raise tampered(pin.reference, odd[0], "is too many, or missing")
        self._read[asked] = None
        while len(self._read) > _READS_KEPT:
            self._read.pop(next(iter(self._read)))
