"""A state, as a program has it, taken apart into plain values and arrays, and put together again.

Plain values and how they contain each other become MessagePack; arrays stay what they are and are named. Objects that
know how (`state_dict` and `load_state_dict`: modules, optimizers, schedulers, data) are asked for their state; random
generators give theirs; every other object is pickled, its arrays apart. When it is loaded again, a pickle may only make
objects of the program's own modules, of what the given state consists of, and of the libraries of numbers; it can call
nothing.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from enum import Enum
from typing import Any, Optional

import msgspec

from bough.runtime.checkpoints import arrays
from bough.runtime.checkpoints.arrays import Leaf, Stored
from bough.runtime.checkpoints.failures import CheckpointError
from bough.runtime.checkpoints.pickles import pickled, unpickled

_SMALL = 1 << 63  # MessagePack's integers
_LETTERS = {"list": "l", "tuple": "t", "set": "s", "frozenset": "f"}
_PLAIN = (type(None), bool, float, str, bytes)


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """`plain` by entry of the state; `leaves` likewise, for entries that hold arrays."""

    plain: dict[str, Any]
    leaves: dict[str, list[Leaf]]
    sharded: dict[str, Any] = {}  # tensors of which other processes have pieces, by a name for all of them


def take(state: Mapping[str, Any]) -> Taken:
    """Copies nothing of the arrays; the program must not change them until their leaves are copied."""
    plain: dict[str, Any] = {}
    leaves: dict[str, list[Leaf]] = {}
    sharded: dict[str, Any] = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise _invalid(f"the state has an entry under {name!r}", "names of entries are texts")
        taker = _Taker(name)
        plain[name] = taker.node(value, "")
        if taker.leaves:
            leaves[name] = taker.leaves
        sharded |= taker.sharded
    return Taken(plain=plain, leaves=leaves, sharded=sharded)


class _Taker:
    def __init__(self, entry: str) -> None:
        self._entry = entry
        self.leaves: list[Leaf] = []
        self.sharded: dict[str, Any] = {}
        self._stored: dict[tuple[Any, ...], Stored] = {}
        self._names: set[str] = set()

    def node(self, value: Any, path: str) -> Any:
        """Containers and everything special become lists that begin with a letter."""
        if isinstance(value, _PLAIN) and type(value) in _PLAIN:
            return value
        if type(value) is int:
            return value if -_SMALL <= value < _SMALL else ["i", str(value)]
        if type(value) in (dict, OrderedDict) or (isinstance(value, dict) and type(value).__module__ == "collections"):
            pairs = [
                part for key, each in value.items() for part in (self._key(key), self.node(each, _join(path, key)))
            ]
            return ["o" if isinstance(value, OrderedDict) else "d", pairs]
        if type(value) in (list, tuple, set, frozenset):
            letter = _LETTERS[type(value).__name__]
            return [letter, [self.node(each, _join(path, index)) for index, each in enumerate(value)]]
        if arrays.is_sharded(value):
            name = f"{self._entry}.{path}"
            self.sharded[name] = value
            placements = [getattr(each, "dim", -1) for each in value.placements]
            return ["D", name, list(value.shape), str(value.dtype).partition(".")[2], placements]
        if arrays.is_array(value):
            return ["a", self._array(value, path)]
        if (kept := _generator_state(value)) is not None:
            return ["r", kept[0], self.node(kept[1], path)]
        if callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None)):
            return ["S", self.node(value.state_dict(), path)]
        found: list[Stored] = []

        def keep(array: Any) -> int:
            found.append(self._array(array, _join(path, len(found))))
            return len(found) - 1

        return ["p", pickled(value, keep, f"{self._entry}{'.' if path else ''}{path}"), found]

    def _key(self, key: Any) -> Any:
        if key is None or type(key) in (bool, int, float, str, bytes):
            return self.node(key, "")
        if type(key) is tuple:
            return ["t", [self._key(each) for each in key]]
        raise _invalid(f"{self._entry} has a key {key!r}", "keys are numbers, texts or tuples of them")

    def _array(self, value: Any, path: str) -> Stored:
        key = arrays.same(value)
        if (known := self._stored.get(key)) is not None:
            return known
        name = base = path or self._entry
        number = 2
        while name in self._names or name == "__metadata__":
            name, number = f"{base}#{number}", number + 1
        self._names.add(name)
        leaf, stored = arrays.describe(value, name)
        self.leaves.append(leaf)
        self._stored[key] = stored
        return stored


class Kept:
    """What was the state of an object that knows how to load it."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree


class KeptSharded:
    """Stands for a tensor whose pieces lie in several shards."""

    def __init__(self, name: str, shape: list[int], dtype: str, placements: list[int]) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype
        self.placements = placements  # by dimension of the mesh: which of the tensor's is divided; -1: none


class KeptGenerator:
    """The state of a random generator."""

    def __init__(self, kind: str, state: Any) -> None:
        self.kind, self.state = kind, state


def put_together(node: Any, content: Mapping[str, memoryview], *, allowed: frozenset[str] = frozenset()) -> Any:
    """The value of a node. `content` has the bytes of its entry's arrays, writable and nobody else's."""
    return _Builder(content, allowed).value(node)


class _Builder:
    def __init__(self, content: Mapping[str, memoryview], allowed: frozenset[str]) -> None:
        self._content, self._allowed = content, allowed
        self._made: dict[str, Any] = {}

    def value(self, node: Any) -> Any:
        if not isinstance(node, list):
            return node
        letter, rest = node[0], node[1]
        if letter in "do":
            made: dict[Any, Any] = OrderedDict() if letter == "o" else {}
            for index in range(0, len(rest), 2):
                made[self.value(rest[index])] = self.value(rest[index + 1])
            return made
        if letter in "ltsf":
            kind: Any = {"l": list, "t": tuple, "s": set, "f": frozenset}[letter]
            return kind(self.value(each) for each in rest)
        if letter == "i":
            return int(rest)
        if letter == "a":
            return self._array(msgspec.convert(rest, Stored))
        if letter == "r":
            return KeptGenerator(rest, self.value(node[2]))
        if letter == "D":
            return KeptSharded(*node[1:])
        if letter == "S":
            return Kept(self.value(rest))
        found = [self._array(msgspec.convert(each, Stored)) for each in node[2]]
        return unpickled(rest, found.__getitem__, self._allowed)

    def _array(self, stored: Stored) -> Any:
        if stored.name not in self._made:
            self._made[stored.name] = arrays.rebuild(stored, self._content[stored.name])
        return self._made[stored.name]


def lay(value: Any, target: Any, name: str) -> Any:
    """Puts a value where the program has `target`, in place if that can be; returns what belongs there."""
    if isinstance(value, (Kept, dict)) and callable(getattr(target, "load_state_dict", None)):
        try:
            target.load_state_dict(bare(value))
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _invalid(
                f"{name} does not take what was saved: {error}", "restore(state, migrate=…) may fit it"
            ) from error
        return target
    if isinstance(value, KeptGenerator):
        return _set_generator(value, target)
    if isinstance(value, dict) and isinstance(target, MutableMapping):
        for key in [key for key in target if key not in value]:
            del target[key]
        for key, each in value.items():
            target[key] = lay(each, target.get(key), f"{name}.{key}")
        return target
    if isinstance(value, list) and isinstance(target, list):
        known = [*target, *[None] * len(value)]
        target[:] = [lay(each, known[index], f"{name}.{index}") for index, each in enumerate(value)]
        return target
    if arrays.put_into(target, value):
        return target
    value = bare(value)
    if value is None or not _is_object(target):
        return value
    if type(target) is not type(value):  # put in its place, it would be saved again and again, and never be trained
        raise _invalid(
            f"{name} is a {type(target).__name__}, and a {type(value).__name__} was saved",
            "make it what it was; or restore(state, migrate=…) with a hook that makes the one of the other",
        )
    target.__dict__.clear()
    target.__dict__.update(value.__dict__)
    return target


def _is_object(value: Any) -> bool:
    """One that a program may hold elsewhere too, so that it is changed and not replaced."""
    return hasattr(value, "__dict__") and not isinstance(value, (type, Enum)) and not arrays.is_array(value)


def bare(value: Any) -> Any:
    """Without the wrappers: what a program without such objects sees."""
    if isinstance(value, Kept):
        return bare(value.tree)
    if isinstance(value, KeptGenerator):
        return _set_generator(value, None)
    if isinstance(value, dict):
        for key in list(value):
            value[key] = bare(value[key])
        return value
    if type(value) in (list, tuple):
        return type(value)(bare(each) for each in value)
    return value


def packages_in(state: Optional[Mapping[str, Any]]) -> frozenset[str]:
    """The packages whose objects the program itself has put into its state."""
    return frozenset(type(value).__module__.partition(".")[0] for value in (state or {}).values())


def _generator_state(value: Any) -> Optional[tuple[str, Any]]:
    numpy, torch = arrays.loaded(arrays.NUMPY), arrays.loaded(arrays.TORCH)
    if type(value) is random.Random:
        return "random", value.getstate()
    if numpy is not None and hasattr(numpy, "random"):
        if isinstance(value, numpy.random.Generator):
            return "numpy.Generator", value.bit_generator.state
        if isinstance(value, numpy.random.RandomState):
            return "numpy.RandomState", value.get_state(legacy=False)
    if torch is not None and hasattr(torch, "Generator") and isinstance(value, torch.Generator):
        return "torch", value.get_state()
    return None


def _set_generator(kept: KeptGenerator, target: Any) -> Any:
    if kept.kind == "random":
        made: Any = target if type(target) is random.Random else random.Random()  # noqa: S311 - not for secrets
        made.setstate(kept.state)
        return made
    library = arrays.imported(arrays.TORCH if kept.kind == "torch" else arrays.NUMPY)
    if kept.kind == "torch":
        made = target if isinstance(target, library.Generator) else library.Generator()
        made.set_state(kept.state)
        return made
    if kept.kind == "numpy.Generator":
        name = kept.state["bit_generator"]
        fits = isinstance(target, library.random.Generator) and target.bit_generator.state["bit_generator"] == name
        made = target if fits else library.random.Generator(getattr(library.random, name)())
        made.bit_generator.state = kept.state
        return made
    made = target if isinstance(target, library.random.RandomState) else library.random.RandomState()
    made.set_state(kept.state)
    return made


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _invalid(message: str, hint: str) -> CheckpointError:
    return CheckpointError("CHECKPOINT_STATE_INVALID", message, hint)
