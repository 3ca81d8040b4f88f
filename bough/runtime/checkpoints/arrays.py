"""Arrays of numpy and tensors of PyTorch as bytes of a safetensors file, and back.

Only what the program itself has imported is ever touched: without numpy and PyTorch nothing here is called.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Callable

import msgspec

from bough.runtime.checkpoints.failures import CheckpointError

_NUMPY = {
    "f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u8": "U64", "u4": "U32",
    "u2": "U16", "u1": "U8", "b1": "BOOL", "c8": "C64",
}  # fmt: skip
_TORCH = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
    "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
NUMPY, TORCH = "numpy", "torch"
_ALIGNMENT = 8  # of the header, as the format has it


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """An array on its way into a checkpoint."""

    name: str
    dtype: str  # in the words of safetensors; U8 for what they have no word for
    shape: list[int]
    size: int
    copy_into: Callable[[memoryview], None]
    device: int = -1  # the GPU it is on: `copy_into` only begins the copy, and `pinning.settle` waits for it
    address: int = 0  # of its bytes, where they lie one after the other in this process's memory; 0: they do not


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """What the tree says of an array."""

    library: str
    name: str  # of its tensor in the safetensors file
    dtype: Any  # in the library's own words
    shape: list[int]
    transposed: bool = False


def loaded(name: str) -> Any:
    """A library if the program has imported it."""
    return sys.modules.get(name)


def is_array(value: Any) -> bool:
    numpy, torch = loaded(NUMPY), loaded(TORCH)
    if numpy is not None and type(value) in (numpy.ndarray, numpy.memmap):
        return not value.dtype.hasobject
    return torch is not None and hasattr(torch, "Tensor") and isinstance(value, torch.Tensor)


def is_sharded(value: Any) -> bool:
    """A tensor of which other processes have pieces, too."""
    torch = loaded(TORCH)
    return torch is not None and isinstance(value, torch.Tensor) and type(value).__name__ == "DTensor"


def same(value: Any) -> tuple[Any, ...]:
    """Equal for two names of one array (tied weights): it is kept once."""
    if isinstance(value, loaded(NUMPY).ndarray if loaded(NUMPY) is not None else ()):
        return ("numpy", value.__array_interface__["data"][0], value.shape, value.strides, value.dtype.str)
    if value.device.type == "meta":
        return ("id", id(value))
    return ("torch", value.device, value.data_ptr(), tuple(value.shape), value.stride(), value.dtype)


def describe(value: Any, name: str) -> tuple[Leaf, Stored]:
    """What is to be kept of an array. Nothing is copied before `copy_into` is called."""
    if loaded(NUMPY) is not None and isinstance(value, loaded(NUMPY).ndarray):
        return _describe_numpy(value, name)
    return _describe_torch(value, name)


def _describe_numpy(value: Any, name: str) -> tuple[Leaf, Stored]:
    numpy = loaded(NUMPY)
    transposed = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
    plain = value.T if transposed else value  # the order in memory decides how sums are rounded later
    word = _NUMPY.get(plain.dtype.str[1:]) if plain.dtype.isnative else None
    shape = list(plain.shape) if word else [plain.nbytes]

    def copy_into(target: memoryview) -> None:
        if plain.dtype.kind in "biufcmM":
            numpy.copyto(numpy.frombuffer(target, plain.dtype).reshape(plain.shape), plain)
        else:
            target[:] = plain.tobytes()

    descr = plain.dtype.str if plain.dtype.names is None else numpy.lib.format.dtype_to_descr(plain.dtype)
    address = int(plain.ctypes.data) if plain.flags.c_contiguous else 0
    leaf = Leaf(
        name=name, dtype=word or "U8", shape=shape, size=int(plain.nbytes), copy_into=copy_into, address=address
    )
    return leaf, Stored(NUMPY, name, descr, list(plain.shape), transposed)


def _describe_torch(value: Any, name: str) -> tuple[Leaf, Stored]:
    torch = loaded(TORCH)
    tensor = value.detach()
    word = str(tensor.dtype).partition(".")[2]
    if tensor.layout != torch.strided or word not in _TORCH or tensor.device.type == "meta" or tensor.is_quantized:
        what = f"{word}, {tensor.layout}, on {tensor.device}"
        raise CheckpointError(
            "CHECKPOINT_STATE_INVALID", f"the tensor {name} ({what}) cannot be kept", "make it dense, or leave it out"
        )
    transposed = tensor.dim() == 2 and not tensor.is_contiguous() and tensor.T.is_contiguous()
    plain = tensor.T if transposed else tensor
    if plain.is_conj() or plain.is_neg():
        plain = plain.resolve_conj().resolve_neg()
    size = plain.numel() * plain.element_size()

    def copy_into(target: memoryview) -> None:
        if size:
            torch.frombuffer(target, dtype=plain.dtype).view(plain.shape).copy_(plain, non_blocking=device >= 0)

    device = plain.get_device() if plain.device.type == "cuda" else -1
    here = type(plain) is torch.Tensor and plain.device.type == "cpu" and plain.is_contiguous()
    leaf = Leaf(
        name=name, dtype=_TORCH[word], shape=list(plain.shape), size=size, copy_into=copy_into,
        device=device, address=plain.data_ptr() if here else 0,
    )  # fmt: skip
    return leaf, Stored(TORCH, name, word, list(plain.shape), transposed)


def rebuild(stored: Stored, content: memoryview) -> Any:
    """The array, in memory of its own. `content` must be writable and nobody else's."""
    if stored.library == TORCH:
        torch = imported(TORCH)
        dtype = getattr(torch, stored.dtype)
        flat = torch.frombuffer(content, dtype=dtype) if len(content) else torch.empty(0, dtype=dtype)
        tensor = flat.view(stored.shape)
        return tensor.T if stored.transposed else tensor
    numpy = imported(NUMPY)
    dtype = numpy.lib.format.descr_to_dtype(_descr(stored.dtype))
    array = numpy.frombuffer(content, dtype).reshape(stored.shape)
    return array.T if stored.transposed else array


def put_into(target: Any, value: Any) -> bool:
    """Copies an array into one that the program already has, if it fits there."""
    numpy, torch = loaded(NUMPY), loaded(TORCH)
    if numpy is not None and isinstance(target, numpy.ndarray) and isinstance(value, numpy.ndarray):
        if target.shape == value.shape and target.dtype == value.dtype and target.flags.writeable:
            target[...] = value
            return True
        return False
    if torch is None or not (isinstance(target, torch.Tensor) and isinstance(value, torch.Tensor)):
        return False
    fits = bool(target.shape == value.shape and target.dtype == value.dtype)
    if fits:
        with torch.no_grad():
            target.copy_(value)
    return fits


def header(leaves: list[Leaf]) -> bytes:
    """The beginning of the safetensors file that these arrays follow in their order."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for leaf in leaves:
        entries[leaf.name] = {"dtype": leaf.dtype, "shape": leaf.shape, "data_offsets": [offset, offset + leaf.size]}
        offset += leaf.size
    text = msgspec.json.encode(entries)
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def offsets(content: memoryview) -> dict[str, tuple[int, int]]:
    """Where each tensor of a safetensors file begins and ends."""
    length = int.from_bytes(content[:8], "little")
    entries = msgspec.json.decode(content[8 : 8 + length], type=dict[str, Any])
    start = 8 + length
    return {
        name: (start + entry["data_offsets"][0], start + entry["data_offsets"][1])
        for name, entry in entries.items()
        if name != "__metadata__"
    }


def _descr(written: Any) -> Any:
    """Tuples came back as lists."""
    if not isinstance(written, list):
        return written
    return [tuple(_descr(part) if isinstance(part, list) and index == 1 else tuple(part) if isinstance(part, list)
                  else part for index, part in enumerate(field)) for field in written]  # fmt: skip


def imported(name: str) -> Any:
    """A library that what was saved needs."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CheckpointError(
            "CHECKPOINT_STATE_INVALID", f"what was saved needs {name}, which is not here", f"add {name} to requirements"
        ) from error
