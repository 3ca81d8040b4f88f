"""What a model's files would run when they are read.

A pickle is a program. It is carried out here by Python's own pickle machine, the one written in Python, in which every
name that it asks for is an inert stand-in: whatever trick puts the name together, it is the real machine that resolves
it, and nothing real is ever imported or called. Opcodes alone (`pickletools`) do not tell: a name may be computed.
What cannot be followed to its end is refused. Zip archives (PyTorch, NumPy), NumPy's arrays of objects, joblib's files
and their compressions are looked into, whatever the files are called.
"""

from __future__ import annotations

import ast
import bz2
import gzip
import io
import lzma
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, ClassVar, NamedTuple

PICKLED = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".dill", ".cloudpickle")  # others are known by how they begin
UNPACKED_BYTES = 4 << 30  # of one compressed file: more is a bomb
HEAD_BYTES = 16  # tell what a file is
DEPTH = 4  # archives in archives
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first of five pickles of PyTorch's old format
_COMPRESSED: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ", lzma.open),
    (b"\x5d\x00", lzma.open),
)

# What models are made of. A star stands for the classes of a module and those below it: names that begin with a
# capital, and Cython's constructors.
ALLOWED = frozenset((
    *(f"builtins.{name}" for name in (
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "set",
        "slice", "str", "tuple",
    )),
    *(f"__builtin__.{name}" for name in ("bytearray", "complex", "frozenset", "object", "set", "unicode", "long")),
    "_codecs.encode", "copyreg._reconstructor", "copy_reg._reconstructor", "collections.OrderedDict",
    "collections.defaultdict", "collections.deque", "collections.Counter", "datetime.date", "datetime.datetime",
    "datetime.timedelta", "datetime.timezone", "decimal.Decimal", "fractions.Fraction", "uuid.UUID",
    "pathlib.PosixPath", "pathlib.PurePosixPath", "types.SimpleNamespace", "array._array_reconstructor", "array.array",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")), "numpy.dtype", "numpy.ndarray",
    *(f"numpy.{name}" for name in (
        "bool_", "bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16",
        "uint32", "uint64", "str_", "bytes_", "datetime64", "timedelta64", "complex64", "complex128", "longlong",
    )),
    *(f"numpy.random._pickle.{name}" for name in (
        "__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor",
    )),
    "numpy.random._mt19937.MT19937", "numpy.random._pcg64.PCG64", "numpy.random.bit_generator.SeedSequence",
    "numpy.ma.core._mareconstruct", "numpy.ma.core.MaskedArray",
    "joblib.numpy_pickle.NumpyArrayWrapper", "joblib.numpy_pickle.NDArrayWrapper",
    "sklearn.*", "scipy.sparse.*", "scipy.interpolate.*", "scipy.stats.*", "xgboost.*", "lightgbm.*", "catboost.*",
    "pandas.core.*", "pandas._libs.internals._unpickle_block", "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",
    "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch._utils._rebuild_tensor",
    "torch._tensor._rebuild_from_type_v2", "torch.Size", "torch.device", "torch.serialization._get_layout",
    *(f"torch.{kind}Storage" for kind in (
        "Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "Untyped",
    )), "torch.storage.UntypedStorage", "torch.storage.TypedStorage",
    *(f"torch.{kind}" for kind in (
        "float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool",
    )), "torch.nn.*",
))  # fmt: skip
_NEVER_IN = ("test", "tests", "testing", "_testing", "conftest", "externals")  # parts of modules that run what they get


class Finding(NamedTuple):
    """`place`: the file, and `!` and the member of an archive."""

    place: str
    what: str


class Unreadable(Exception):
    """The file cannot be followed to its end."""


def scan(path: str, file: IO[bytes], allow: list[str], depth: int = 0) -> Iterator[Finding]:
    """What stands in a file that may not. `file` can seek."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if depth > DEPTH:
        yield Finding(path, "archives are nested too deeply to be read")
    elif head.startswith(b"PK"):
        yield from _archive(path, file, allow, depth)
    elif head.startswith(b"\x93NUMPY"):
        yield from _array(path, file, allow)
    elif (unpack := _unpacking(path, head)) is not None:
        try:
            content = unpack(file)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            yield Finding(path, f"cannot be unpacked: {error}")
            return
        yield from scan(path, io.BytesIO(content), allow, depth + 1)
    elif _is_pickle(path, head):
        yield from _pickles(path, file, allow)


def may_run(path: str, head: bytes) -> bool:
    """Whether a file that begins like this has to be looked into."""
    packed = head.startswith((b"PK", b"\x93NUMPY")) or _unpacking(path, head) is not None
    return packed or _is_pickle(path, head)


def is_allowed(module: str, name: str, allow: list[str]) -> bool:
    """Whether a model may ask for this name."""
    whole = f"{module}.{name}"
    if whole in ALLOWED or whole in allow:
        return True
    if not name.isidentifier() or any(part in _NEVER_IN for part in module.split(".")):
        return False  # a dotted name walks from one module into others
    if not (name[0].isupper() or name.startswith("__pyx_unpickle_") or (name[0] == "_" and name[1:2].isupper())):
        return False
    parts = module.split(".")
    return any(f"{'.'.join(parts[:count])}.*" in {*ALLOWED, *allow} for count in range(1, len(parts) + 1))


class _Inert:
    """In place of whatever a pickle asks for: can be made, called, filled, and does nothing."""

    asked = ""

    def __new__(cls, *args: Any, **options: Any) -> _Inert:
        made = object.__new__(cls)
        made.given = args
        return made

    def __init__(self, *args: Any, **options: Any) -> None: ...

    given: tuple[Any, ...] = ()
    state: Any = None

    def __call__(self, *args: Any, **options: Any) -> _Inert:
        return _Inert(*args)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...

    def add(self, value: Any) -> None: ...

    def update(self, values: Any) -> None: ...

    __hash__ = object.__hash__


_Watchable: Any = pickle._Unpickler  # the one in Python, whose steps can be watched


class _Machine(_Watchable):  # type: ignore[misc] # it has no types
    """Python's pickle machine with nothing to hold on to."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self._source = file
        self.names: list[tuple[str, str]] = []

    dispatch: ClassVar[dict[int, Any]] = dict(_Watchable.dispatch)

    def find_class(self, module: Any, name: Any) -> Any:
        self.names.append((str(module), str(name)))
        return type("_Inert", (_Inert,), {"asked": f"{module}.{name}"})

    def get_extension(self, code: int) -> None:
        self.names.append(("copyreg", f"extension {code}"))
        self.append(_Inert())

    def persistent_load(self, pid: Any) -> Any:
        return _Inert()

    def load_build(self) -> None:
        """joblib writes an array's bytes into the stream, right after the object that describes it."""
        super().load_build()
        made = self.stack[-1]
        if isinstance(made, _Inert) and made.asked == "joblib.numpy_pickle.NumpyArrayWrapper":
            self._skip(made.state or {})

    dispatch[pickle.BUILD[0]] = load_build

    def _skip(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict):
            raise Unreadable("an array without a description")
        shape, kind = state.get("shape", ()), state.get("dtype")
        code = kind.given[0] if isinstance(kind, _Inert) and kind.given else None
        if not isinstance(kind, _Inert) or not isinstance(code, str) or not isinstance(shape, tuple):
            raise Unreadable("an array of a type that is not known")
        if code.startswith("O"):
            inner = _Machine(self._source)
            inner.load()
            self.names += inner.names
            return
        size = _item_size(code, kind)
        for length in shape:
            size *= int(length)
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = self._file_read(1)
            self._file_read(padding[0])
        left = size
        while left > 0:
            left -= len(self._file_read(min(left, 1 << 20)))

    def _file_read(self, count: int) -> bytes:
        data = self._source.read(count)
        if len(data) < count:
            raise Unreadable("an array ends too soon")
        return data


def _item_size(code: str, kind: _Inert) -> int:
    """Bytes of one item: `f8`, `<i4`, `U10`; of a record, what its state says."""
    digits = code.lstrip("<>=|").lstrip("biufcmMSUVO")
    if code.lstrip("<>=|")[:1] == "V" and isinstance(kind.state, tuple) and len(kind.state) > 5:
        return int(kind.state[5])
    if not digits.isdecimal():
        raise Unreadable(f"an array of type {code!r}")
    return int(digits) * (4 if code.lstrip("<>=|").startswith("U") else 1)


def _pickles(path: str, file: IO[bytes], allow: list[str]) -> Iterator[Finding]:
    """The pickle at the start of a file: it is what loading reads. PyTorch's old files have five."""
    names, count, wrong = list[tuple[str, str]](), 1, ""
    while count:
        machine = _Machine(file)
        try:
            value = machine.load()
            count = 4 if value == _TORCH_MAGIC and count == 1 and not names else count - 1
        except Exception as error:  # a pickle can break the machine in any way: then nobody knows what it does
            count, wrong = 0, f"cannot be followed to its end: {type(error).__name__}: {error}"
        names += machine.names
    for module, name in sorted(set(names)):
        if not is_allowed(module, name, allow):
            yield Finding(path, f"asks for {module}.{name} ({_opcode(file, module, name)})")
    if wrong:
        yield Finding(path, wrong)


def _is_pickle(path: str, head: bytes) -> bool:
    return path.lower().endswith(PICKLED) or (head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"))


def _opcode(file: IO[bytes], module: str, name: str) -> str:
    """Which opcode asks for a name, and where in the file."""
    file.seek(0)
    try:
        for opcode, argument, position in pickletools.genops(file):
            if opcode.name in ("GLOBAL", "INST") and argument == f"{module} {name}":
                return f"{opcode.name} at byte {position}"
            if opcode.name.endswith("UNICODE") and argument == name:
                return f"STACK_GLOBAL after byte {position}"
            if opcode.name.startswith("EXT") and module == "copyreg":
                return f"{opcode.name} at byte {position}"
    except (ValueError, struct.error, UnicodeDecodeError):  # joblib's bytes between opcodes, or a name that is computed
        pass
    return "a computed name" if module != "copyreg" else "EXT"


def _archive(path: str, file: IO[bytes], allow: list[str], depth: int) -> Iterator[Finding]:
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.file_size > UNPACKED_BYTES:
                    yield Finding(f"{path}!{member.filename}", "is too large to be read")
                elif not member.is_dir():
                    content = io.BytesIO(archive.read(member))
                    yield from scan(f"{path}!{member.filename}", content, allow, depth + 1)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        yield Finding(path, f"cannot be unpacked: {error}")


def _array(path: str, file: IO[bytes], allow: list[str]) -> Iterator[Finding]:
    """A `.npy` file: only an array of objects has a pickle, after the header."""
    file.seek(6)
    version = file.read(2)
    size = struct.unpack("<H", file.read(2))[0] if version[:1] == b"\1" else struct.unpack("<I", file.read(4))[0]
    header = file.read(size)
    try:
        kind = ast.literal_eval(header.decode("latin-1").strip())["descr"]
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        yield Finding(path, "has a header that cannot be read")
        return
    if "O" in str(kind):
        yield from _pickles(path, file, allow)


def _unpacking(path: str, head: bytes) -> Callable[[IO[bytes]], bytes] | None:
    for magic, opened in _COMPRESSED:
        if head.startswith(magic):
            return lambda file: _bounded(opened(file))
    if head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0 and path.lower().endswith(PICKLED):
        return _inflated
    return None


def _bounded(file: IO[bytes]) -> bytes:
    content = file.read(UNPACKED_BYTES + 1)
    if len(content) > UNPACKED_BYTES:
        raise ValueError("more than it may hold")
    return content


def _inflated(file: IO[bytes]) -> bytes:
    content = zlib.decompressobj().decompress(file.read(), UNPACKED_BYTES + 1)
    if len(content) > UNPACKED_BYTES:
        raise ValueError("more than it may hold")
    return content
