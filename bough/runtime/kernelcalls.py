"""Calls to kernel and C library that the standard library has no name for, made without importing `ctypes` itself.

The shim exists once per unit, so its start-up time and memory count: `_ctypes` alone costs 0.8 ms and 0.1 MB, the
`ctypes` package 2.3 ms and 0.5 MB. Every function says whether it worked; none raises when the kernel lacks a call.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs 3 ms
    from typing import Any

try:
    import _ctypes
except ImportError:  # a Python built without libffi: the rungs that need these calls are then missing
    _ctypes = None  # type: ignore[assignment]

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS, _SET_THP_DISABLE = 1, 36, 38, 41
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on every architecture

# Bits of LANDLOCK_ACCESS_FS_*: what changes a file system, by the ABI that introduced it.
_WRITE_FILE = 1 << 1
_ABI_1 = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))  # remove and make of every kind
_REFER, _TRUNCATE = 1 << 13, 1 << 14


def become_subreaper() -> bool:
    """Orphans among our descendants become our children instead of init's."""
    return _prctl(_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signal_number: int) -> bool:
    return _prctl(_SET_PDEATHSIG, signal_number)


def refuse_new_privileges() -> bool:
    """setuid programs no longer raise us; also what Landlock asks for."""
    return _prctl(_SET_NO_NEW_PRIVS, 1)


def landlock_abi() -> int:
    """Version of Landlock in this kernel; 0 when it has none."""
    return max(0, _call(b"syscall", _LANDLOCK_CREATE, None, 0, 1))


def confine_writes(folders: list[str]) -> bool:
    """From now on this process and its descendants change files only below `folders`. Needs no privilege."""
    abi = landlock_abi()
    if abi == 0:
        return False
    rights = _ABI_1 | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    ruleset = _call(b"syscall", _LANDLOCK_CREATE, rights.to_bytes(8, "little"), 8, 0)
    if ruleset < 0:
        return False
    try:
        for folder in folders:
            beneath = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            rule = rights.to_bytes(8, "little") + beneath.to_bytes(4, "little")
            added = _call(b"syscall", _LANDLOCK_ADD, ruleset, 1, rule, 0)
            os.close(beneath)
            if added != 0:
                return False
        return refuse_new_privileges() and _call(b"syscall", _LANDLOCK_RESTRICT, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def give_back_memory() -> bool:
    """What was freed goes back to the kernel, not only what lies at the heap's end: malloc_trim(3), 1 to 2 ms for a
    model of 20 MB. Only glibc has it."""
    return _call(b"malloc_trim", 0) == 1


def refuse_huge_pages() -> bool:
    """From now on this process and its descendants get memory in pages of the usual size."""
    return _prctl(_SET_THP_DISABLE, 1)


def _prctl(option: int, value: int) -> bool:
    return _call(b"prctl", option, value, 0, 0, 0) == 0


def _call(name: bytes, *arguments: bytes | int | None) -> int:
    if _ctypes is None:
        return -1
    ourselves: Any = None
    try:
        address = _ctypes.dlsym(_ctypes.dlopen(ourselves, 0), name.decode())
    except OSError:  # another C library
        return -1
    return int(_ctypes.call_function(address, arguments))
