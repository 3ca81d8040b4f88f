"""The VFS in Python, through apsw: for machines without a C compiler. `extension.c` does the same faster."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import Any

from bough.runtime.pages import format

try:
    import apsw
except ImportError as error:
    raise ImportError("without a C compiler, databases in pages need apsw: pip install apsw") from error

NAME = "bough-python"
_OURS_TO_IGNORE = (apsw.SQLITE_FCNTL_SIZE_HINT, apsw.SQLITE_FCNTL_CHUNK_SIZE, apsw.SQLITE_FCNTL_MMAP_SIZE)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Layer:
    def __init__(self, path: str, kind: str, limit: int, *, writable: bool) -> None:
        flags, access = (os.O_RDWR, mmap.ACCESS_READ) if writable else (os.O_RDONLY, mmap.ACCESS_READ)
        self.limit, self.bits, self.bits_fd = limit, None, -1
        self.fd = os.open(path, flags | os.O_CLOEXEC)
        if kind == format.PART:
            try:
                self.bits_fd = os.open(path + ".bits", flags | os.O_CLOEXEC)
                self.bits = mmap.mmap(self.bits_fd, format.BITS_SIZE, access=access)
            except BaseException:
                self.close()
                raise

    bits: mmap.mmap | None

    def has(self, grain: int) -> bool:
        return self.bits is None or bool(self.bits[grain >> 3] >> (grain & 7) & 1)

    def close(self) -> None:
        if self.bits is not None:
            self.bits.close()
        for each in (self.fd, self.bits_fd):
            if each >= 0:
                os.close(each)
        self.fd = self.bits_fd = -1


class PagesFile(apsw.VFSFile):
    """A database in pages; its locks, and what SQLite keeps beside it, are those of the file that was opened."""

    def __init__(self, name: apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._path = Path(name.filename())
        self._readonly = bool(flags[1] & apsw.SQLITE_OPEN_READONLY)
        self._layers: list[_Layer] = []
        self._dirty, self._generation = False, 0
        descriptor = os.open(format.head_path(self._path), os.O_RDONLY if self._readonly else os.O_RDWR)
        try:
            access = mmap.ACCESS_READ if self._readonly else mmap.ACCESS_WRITE
            self._head = mmap.mmap(descriptor, format.HEAD_SIZE, access=access)
        finally:
            os.close(descriptor)
        self._load()

    def xRead(self, amount: int, offset: int) -> bytes:
        self._current()
        there = max(0, min(amount, format.field(self._head, format.SIZE_AT) - offset))
        if there and offset // format.GRAIN == (offset + there - 1) // format.GRAIN:
            return self._read_grain(there, offset)
        parts, end = [], offset + there
        while offset < end:
            part = min(end - offset, format.GRAIN - offset % format.GRAIN)
            parts.append(self._read_grain(part, offset))
            offset += part
        return b"".join(parts)

    def xWrite(self, data: Any, offset: int) -> None:
        self._current()
        content, top = bytes(data), self._layers[0]
        end, at = offset + len(content), offset
        self._dirty = True
        try:
            while at < end:
                grain = at // format.GRAIN
                part = min(end - at, format.GRAIN - at % format.GRAIN)
                piece = content[at - offset : at - offset + part]
                if part < format.GRAIN and not top.has(grain):
                    start = grain * format.GRAIN
                    whole = bytearray(self._read_grain(format.GRAIN, start))
                    whole[at - start : at - start + part] = piece
                    _write(top.fd, bytes(whole), start)
                    os.fdatasync(top.fd)  # what lies beside is in no journal
                else:
                    _write(top.fd, piece, at)
                self._set_bit(grain)
                at += part
        except OSError as error:
            raise (apsw.FullError if error.errno in _FULL else apsw.IOError)(str(error)) from error
        if end > format.field(self._head, format.SIZE_AT):
            format.store(self._head, format.SIZE_AT, end)

    def xTruncate(self, newsize: int) -> None:
        self._current()
        before, top = format.field(self._head, format.SIZE_AT), self._layers[0]
        assert top.bits is not None  # noqa: S101 - a top is written, and so has bits
        self._dirty = True
        format.store(self._head, self._limit_at, min(format.field(self._head, self._limit_at), newsize))
        format.store(self._head, format.SIZE_AT, newsize)
        first, last = -(-newsize // format.GRAIN), -(-before // format.GRAIN)
        for at in range(first // 8, last // 8 + 1):
            kept = top.bits[at] & ~(0xFF << (first & 7)) if at == first // 8 else 0
            if kept != top.bits[at]:
                _write(top.bits_fd, bytes([kept & 0xFF]), at)
        if os.fstat(top.fd).st_size > newsize:
            os.ftruncate(top.fd, newsize)

    def xSync(self, flags: int) -> None:
        if self._dirty:
            os.fdatasync(self._layers[0].fd)
            os.fdatasync(self._layers[0].bits_fd)
            self._head.flush()
            self._dirty = False

    def xFileSize(self) -> int:
        self._current()
        return format.field(self._head, format.SIZE_AT)

    def xFileControl(self, op: int, ptr: int) -> bool:
        return True if op in _OURS_TO_IGNORE else super().xFileControl(op, ptr)

    def xDeviceCharacteristics(self) -> int:
        return super().xDeviceCharacteristics() & apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xClose(self) -> None:
        for layer in self._layers:
            layer.close()
        self._layers = []
        super().xClose()

    @property
    def _limit_at(self) -> int:
        return format.LIMITS_AT + 8 * (self._generation & 1)

    def _current(self) -> None:
        if format.field(self._head, format.GENERATION_AT) != self._generation or not self._layers:
            self._load()

    def _load(self) -> None:
        generation = format.field(self._head, format.GENERATION_AT)
        if generation == 0:
            raise apsw.IOError(f"{self._path} has been replaced: open it again")
        for layer in self._layers:
            layer.close()
        lines = format.read_layers(self._path, generation)
        self._layers = []
        for number, each in enumerate(lines):
            writable = number == 0 and not self._readonly
            self._layers.append(_Layer(format.resolved(self._path, each), each.kind, each.limit, writable=writable))
        self._generation = generation

    def _read_grain(self, amount: int, at: int) -> bytes:
        """Part of one grain."""
        grain, limit = at // format.GRAIN, format.field(self._head, self._limit_at)
        if self._layers[0].has(grain):
            return os.pread(self._layers[0].fd, amount, at).ljust(amount, b"\0")
        for layer in self._layers[1:]:
            if at >= limit:
                break
            if layer.has(grain):
                return os.pread(layer.fd, min(amount, limit - at), at).ljust(amount, b"\0")
            limit = min(limit, layer.limit)
        return bytes(amount)

    def _set_bit(self, grain: int) -> None:
        top = self._layers[0]
        if top.bits is None or grain >> 3 >= format.BITS_SIZE:
            raise OSError(errno.EFBIG, "a database in pages has at most 512 GiB")
        if not top.has(grain):
            # Written, not stored through the map: a full disk must be an error and not a signal.
            _write(top.bits_fd, bytes([top.bits[grain >> 3] | 1 << (grain & 7)]), grain >> 3)


class PagesVFS(apsw.VFS):
    """Opens databases in pages, and every other file as SQLite does."""

    def __init__(self) -> None:
        super().__init__(NAME, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB and name is not None and format.is_pages(Path(name.filename())):
            return PagesFile(name, flags)
        return apsw.VFSFile("", name, flags)


_registered: list[PagesVFS] = []


def register() -> str:
    """Makes the VFS known to apsw's SQLite; its name."""
    if not _registered:
        _registered.append(PagesVFS())
    return NAME


def _write(descriptor: int, content: bytes, at: int) -> None:
    while content:
        put = os.pwrite(descriptor, content, at)
        content, at = content[put:], at + put
