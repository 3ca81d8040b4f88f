"""Heads and layers on disk: making, branching, folding, sweeping. The format is told in `runtime/pages/format.py`.

    <root>/heads/<id>     what programs open, with its lists of layers beside it
    <root>/layers/<id>    layers

A kill at any moment leaves what was, or what was to be; besides, at most files that nobody names, which `sweep` finds.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from bough.adapters.sql import locks
from bough.kernel.errors import NotFound
from bough.kernel.files import as_exhausted, locked, write_whole
from bough.kernel.names import new_id
from bough.runtime.pages import format
from bough.runtime.pages.format import HeadState, LayerLine

WITHIN_S = 2.0  # how long a cut waits for a writer: everybody who changes the catalog waits with it
DEEPEST = 24  # frozen layers of a head before the newest of them are folded into one
WAL_HEADER = 32
SQLITE_HEADER, WRITE_VERSION_AT, WAL = 100, 18, 2
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """`held_s`: how long writers were kept waiting; `copied_bytes` of what was not in the pages yet (WAL). `layers` and
    `size`: what `remake` needs."""

    head: str
    held_s: float
    copied_bytes: int
    size: int
    layers: str


class _Ready:
    """What a head's list becomes, if it is still in `state`; not `frozen`: its top is empty and goes on."""

    def __init__(self, state: HeadState, lines: list[LayerLine], *, frozen: bool) -> None:
        self.state, self.lines, self.frozen = state, lines, frozen

    def is_due(self, path: Path) -> bool:
        """Only while writers are held."""
        state = format.read_head(path)
        same = (state.generation, state.limit) == (self.state.generation, self.state.limit)
        return same and (self.frozen or not _is_written(path, state, self.lines))


class NeedsRecovery(Exception):
    """A program died while it wrote: SQLite has to bring the database back first."""


class Pages:
    def __init__(self, root: Path) -> None:
        self.heads, self.layers = root / "heads", root / "layers"
        self._settled = dict[str, int]()  # heads, and the generation at which nothing was left to do

    def path(self, head: str) -> Path:
        return self.heads / head

    def prepare(self) -> None:
        for folder in (self.heads, self.layers):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def make(self, source: Path | None = None) -> str:
        """A new database; with `source`, over that SQLite file, which is moved in and must be nobody's any more."""
        with as_exhausted(self.heads):
            self.prepare()
            lines, size = [self._new_top()], 0
            if source is not None:
                size, layer = source.stat().st_size, new_id("ly")
                source.replace(self.layers / layer)
                lines.append(LayerLine(format.WHOLE, size, f"../layers/{layer}"))
            return self._new_head(lines, size)

    def branch(self, head: str, within_s: float = WITHIN_S, *, settle: bool = True) -> Cut:
        """A new head that shows what `head` shows at one moment. Waits for the disk only before and after writers are
        held, and not at all when `head` was settled since it was branched last. Without `settle`, the caller settles
        both soon: until then a power cut (and nothing less) may leave the new one without its files, which `remake`
        brings back. Raises `Busy` (DATABASE_IN_USE), `NeedsRecovery`."""
        path = self._existing(head)
        with as_exhausted(self.heads):
            with self._alone(head):
                made, wal, held_s = self._branch(path, within_s)
            if settle or wal:
                self.settle(made)
            if settle:
                self.settle(head)
        new = self.path(made)
        return Cut(head=made, held_s=held_s, copied_bytes=wal, size=format.read_head(new).size,
                   layers=format.layers_text(format.read_layers(new, 1)))  # fmt: skip

    def settle(self, head: str) -> None:
        """Makes sure that a head outlives a power cut, and makes ready what its next branch takes."""
        path = self._existing(head)
        state = format.read_head(path)
        if self._settled.get(head) == state.generation:
            return
        wal = path.with_name(f"{head}-wal")
        for name in (path, format.head_path(path), format.layers_path(path, state.generation), wal):
            with contextlib.suppress(FileNotFoundError):
                _sync(name)
        with self._alone(head):
            state = format.read_head(path)
            lines = format.read_layers(path, state.generation)
            if self._next(path, state, lines) is None:
                top, *below = lines
                self._list(path, state.generation + 1, [self._new_top(), top._replace(limit=state.limit), *below])
        self._settled[head] = state.generation

    def remake(self, head: str, layers: str, size: int) -> bool:
        """Brings back a head that a power cut took, as it was made; False when it is there."""
        path = self.path(head)
        with contextlib.suppress(OSError, ValueError):
            if format.is_pages(path) and format.read_layers(path, format.read_head(path).generation or 1):
                return False
        with as_exhausted(self.heads):
            write_whole(format.layers_path(path, 1), layers.encode(), mode=0o600)
            write_whole(format.head_path(path), format.pack(HeadState(1, size, size)), mode=0o600)
            write_whole(path, (format.MAGIC + format.NOTE).ljust(format.HEAD_SIZE, b"\0"), mode=0o600)
        return True

    def state(self, head: str) -> HeadState:
        return format.read_head(self._existing(head))

    def own_bytes(self, head: str) -> int:
        """What its top and what lies beside it take on the disk."""
        path = self._existing(head)
        top = format.read_layers(path, format.read_head(path).generation)[0]
        files = [Path(format.resolved(path, top)), *self.heads.glob(f"{head}*")]
        files.append(files[0].with_name(f"{files[0].name}.bits"))
        return sum(each.stat().st_blocks * 512 for each in files if each.exists())

    def depth(self, head: str) -> int:
        path = self._existing(head)
        return len(format.read_layers(path, format.read_head(path).generation))

    def close(self, head: str) -> None:
        """Tells whoever has it open that it is gone: reads and writes fail from now on. Idempotent."""
        with contextlib.suppress(FileNotFoundError), _mapped(self.path(head)) as mapped:
            format.store(mapped, format.GENERATION_AT, 0)

    def fold(self, head: str, within_s: float = WITHIN_S) -> bool:
        """Puts the newest frozen layers of a head together when it has many, so that to open it stays cheap. Copies
        what they hold; other heads keep theirs."""
        path = self._existing(head)
        with self._alone(head), as_exhausted(self.layers):
            state = format.read_head(path)
            top, *frozen = format.read_layers(path, state.generation)
            if len(frozen) <= DEEPEST:
                return False
            count = _foldable([_weight(path, each) for each in frozen])
            folded = self._fold(path, frozen[:count])
            self._list(path, state.generation + 1, [top, folded, *frozen[count:]])
            with self._held(path, within_s):
                self._move_on(path, state, limit=format.read_head(path).limit)
        return True

    def sweep(self, live: Collection[str], older_than_s: float) -> int:
        """Removes heads that are not `live` and layers that no head shows; younger ones stay. Returns the bytes."""
        before, freed = time.time() - older_than_s, 0
        for path in sorted(self.heads.glob("db_*")) if self.heads.is_dir() else []:
            head = path.name.partition("-")[0]
            if head not in live and path.lstat().st_mtime < before:
                freed += _remove(path)
        used = set[str]()
        for path in self.heads.glob("*-layers.*") if self.heads.is_dir() else []:
            with contextlib.suppress(FileNotFoundError):
                head, _, generation = path.name.rpartition("-layers.")
                if int(generation) < self._generation(head) and path.lstat().st_mtime < before:
                    path.unlink()
                    continue
                lines = format.read_layers(self.heads / head, int(generation))
                used |= {each.path.rpartition("/")[2] for each in lines}
        for path in self.layers.glob("*") if self.layers.is_dir() else []:
            if path.name.removesuffix(".bits") not in used and path.lstat().st_mtime < before:
                freed += _remove(path)
        return freed

    def _existing(self, head: str) -> Path:
        path = self.path(head)
        if not format.is_pages(path):
            raise NotFound(f"the database {head} is not on this disk", code="DATABASE_LOST", hint="bough db restore")
        return path

    def _generation(self, head: str) -> int:
        try:
            return format.read_head(self.heads / head).generation
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def _held(self, path: Path, within_s: float) -> Iterator[locks.Held]:
        while True:
            wal = is_wal(path)
            with locks.writers_held(path, wal=wal, within_s=within_s) as held:
                if is_wal(path) != wal:
                    continue
                if is_hot(path):
                    raise NeedsRecovery(str(path))
                yield held
                return

    def _branch(self, path: Path, within_s: float) -> tuple[str, int, float]:
        while True:
            ready = self._ready_to_freeze(path)
            with self._held(path, within_s) as held:
                began = time.perf_counter()
                if ready.is_due(path):
                    wal = pending_wal(path, is_live=held.wal_is_live)
                    made = self._freeze(path, ready, wal)
                    return made, wal, held.waited_s + time.perf_counter() - began

    def _alone(self, head: str) -> contextlib.AbstractContextManager[int]:
        """One at a time changes which layers a head shows."""
        return locked(self.heads / f"{head}-lock")

    def _ready_to_freeze(self, path: Path) -> _Ready:
        state = format.read_head(path)
        lines = format.read_layers(path, state.generation)
        if not _is_written(path, state, lines):
            return _Ready(state, lines, frozen=False)
        if (following := self._next(path, state, lines)) is None:
            top, *below = lines
            following = [self._new_top(), top._replace(limit=state.limit), *below]
            self._list(path, state.generation + 1, following)
        return _Ready(state, following, frozen=True)

    def _next(self, path: Path, state: HeadState, lines: list[LayerLine]) -> list[LayerLine] | None:
        """The list that was made ready, if it is that of these layers with their limit now."""
        with contextlib.suppress(OSError, ValueError):
            following = format.read_layers(path, state.generation + 1)
            if following[1:] == [lines[0]._replace(limit=state.limit), *lines[1:]]:
                return following
        return None

    def _freeze(self, path: Path, ready: _Ready, wal: int) -> str:
        state = format.read_head(path)
        made = self._new_head([self._new_top(), *ready.lines[1:]], state.size, path if wal else None)
        if ready.frozen:
            self._move_on(path, state, limit=state.size)
        return made

    def _list(self, path: Path, generation: int, lines: list[LayerLine]) -> None:
        write_whole(format.layers_path(path, generation), format.layers_text(lines).encode(), mode=0o600)

    def _move_on(self, path: Path, state: HeadState, limit: int) -> None:
        with _mapped(path) as mapped:
            format.store(mapped, format.LIMITS_AT + 8 * (~state.generation & 1), limit)
            format.store(mapped, format.GENERATION_AT, state.generation + 1)

    def _new_top(self) -> LayerLine:
        layer = self.layers / new_id("ly")
        for path, size in ((layer, 0), (layer.with_name(f"{layer.name}.bits"), format.BITS_SIZE)):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.ftruncate(descriptor, size)
            finally:
                os.close(descriptor)
        return LayerLine(format.PART, 0, f"../layers/{layer.name}")

    def _new_head(self, lines: list[LayerLine], size: int, wal_of: Path | None = None) -> str:
        head = new_id("db")
        path = self.path(head)
        if wal_of is not None:
            shutil.copyfile(f"{wal_of}-wal", f"{path}-wal")
        write_whole(format.layers_path(path, 1), format.layers_text(lines).encode(), mode=0o600, synced=False)
        state = HeadState(generation=1, size=size, limit=size)
        write_whole(format.head_path(path), format.pack(state), mode=0o600, synced=False)
        content = (format.MAGIC + format.NOTE).ljust(format.HEAD_SIZE, b"\0")
        write_whole(path, content, mode=0o600, synced=False)
        return head

    def _fold(self, path: Path, lines: list[LayerLine]) -> LayerLine:
        """One layer with what these show, the first of them on top."""
        made = self._new_top()
        target = Path(format.resolved(path, made))
        with target.open("r+b") as out, target.with_name(f"{target.name}.bits").open("r+b") as out_bits:
            bits = bytearray(format.BITS_SIZE)
            limit = 1 << 62
            for each in lines:
                self._pour(path, each, limit, out.fileno(), bits)
                limit = min(limit, each.limit)
            for at in range(0, len(bits), format.GRAIN):
                if any(part := bits[at : at + format.GRAIN]):
                    os.pwrite(out_bits.fileno(), part, at)
            os.fdatasync(out.fileno())
            os.fdatasync(out_bits.fileno())
        return made._replace(limit=limit)

    def _pour(self, path: Path, layer: LayerLine, limit: int, out: int, bits: bytearray) -> None:
        name = Path(format.resolved(path, layer))
        theirs = name.with_name(f"{name.name}.bits").read_bytes()
        with name.open("rb") as source:
            for grain in _grains(theirs):
                start = grain * format.GRAIN
                if start < limit and not bits[grain >> 3] >> (grain & 7) & 1:
                    content = os.pread(source.fileno(), min(format.GRAIN, limit - start), start)
                    os.pwrite(out, content.ljust(format.GRAIN, b"\0"), start)
                    bits[grain >> 3] |= 1 << (grain & 7)


def _is_written(path: Path, state: HeadState, lines: list[LayerLine]) -> bool:
    """Whether the top of a head holds anything: a grain, or that it was cut shorter."""
    return state.limit != state.size or _allocated(format.resolved(path, lines[0]) + ".bits") > 0


def _weight(path: Path, layer: LayerLine) -> int:
    return _allocated(format.resolved(path, layer)) if layer.kind == format.PART else 1 << 62


def _allocated(name: str) -> int:
    return os.stat(name).st_blocks * 512  # noqa: PTH116 - a name, not a path, on the way of every cut


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_at(path: Path, offset: int, amount: int) -> bytes:
    """Part of one grain of a database, as its head shows it now."""
    state = format.read_head(path)
    grain, limit = offset // format.GRAIN, state.limit
    for number, layer in enumerate(format.read_layers(path, state.generation)):
        name = format.resolved(path, layer)
        if layer.kind == format.WHOLE or (_has_frozen if number else _has)(name, grain):
            return _pread(name, amount, offset) if number == 0 or offset < limit else b""
        if number:
            limit = min(limit, layer.limit)
    return b""


def is_wal(path: Path) -> bool:
    """Whether the database at `path` (a plain file, or in pages) is in WAL mode."""
    if format.is_pages(path):
        header = read_at(path, 0, SQLITE_HEADER)
    else:
        with path.open("rb") as file:
            header = file.read(SQLITE_HEADER)
    return len(header) > WRITE_VERSION_AT and header[WRITE_VERSION_AT] == WAL


def is_hot(path: Path) -> bool:
    """Whether a journal waits to be rolled back. Only while writers are held: else it may be somebody's."""
    try:
        with path.with_name(f"{path.name}-journal").open("rb") as file:
            return file.read(len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC
    except FileNotFoundError:
        return False


def pending_wal(path: Path, *, is_live: bool) -> int:
    """How many bytes of WAL hold what is not in the pages yet. Only while writers are held."""
    wal = path.with_name(f"{path.name}-wal")
    size = wal.stat().st_size if wal.exists() else 0
    if size <= WAL_HEADER:
        return 0
    if is_live:
        with path.with_name(f"{path.name}-shm").open("rb") as file:
            index = file.read(100)
        newest, in_pages = (int.from_bytes(index[at : at + 4], "little") for at in (16, 96))
        if index[12] and newest == in_pages:
            return 0
    return size


def _has(layer: str, grain: int) -> bool:
    return bool(_pread(f"{layer}.bits", 1, grain >> 3)[0] >> (grain & 7) & 1)


@functools.lru_cache(16_384)
def _has_frozen(layer: str, grain: int) -> bool:
    """The same of a layer that nobody writes any more: a cut asks all of them for the first grain."""
    return _has(layer, grain)


def _pread(name: str, amount: int, offset: int) -> bytes:
    descriptor = os.open(name, os.O_RDONLY)
    try:
        return os.pread(descriptor, amount, offset)
    finally:
        os.close(descriptor)


def _grains(bits: bytes) -> Iterator[int]:
    for at in range(0, len(bits), 4096):
        part = bits[at : at + 4096]
        if any(part):
            for place, byte in enumerate(part, at):
                for bit in range(8):
                    if byte >> bit & 1:
                        yield place * 8 + bit


def _foldable(sizes: list[int]) -> int:
    """How many of the newest layers to put together: all that are small beside what comes below them."""
    count, together = 2, sum(sizes[:2])
    while count < len(sizes) and sizes[count] < 4 * together:
        together += sizes[count]
        count += 1
    return count


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with format.head_path(path).open("r+b") as file, mmap.mmap(file.fileno(), format.HEAD_SIZE) as mapped:
        yield mapped


def _remove(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        size = path.stat().st_blocks * 512
        path.unlink()
        return size
    return 0
