"""Back to a checkpoint: which one, whose shards, and whether this program may go on from it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, Callable, Optional

import msgspec

from bough.runtime.checkpoints import code, manifest, randomness, restoring, sharded, trees
from bough.runtime.checkpoints.failures import CheckpointError
from bough.runtime.checkpoints.manifest import Manifest
from bough.runtime.checkpoints.ranks import Ranks
from bough.runtime.checkpoints.restoring import Confirm, Loaded

_SHOWN = 5  # differences in a message


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What a `migrate` hook is given: a state that another version of the program saved."""

    step: int
    version: str
    differences: list[str]
    state: dict[str, Any]


Migrate = Callable[[Saved], Mapping[str, Any]]


def find(
    folder: Path, ranks: Ranks, confirm: Confirm, tell: Callable[[str], None]
) -> Optional[tuple[Manifest, dict[int, Loaded]]]:
    """The checkpoint that all processes go on from, and the shards that this one needs: the first one's, and its own.
    The first process reads all of them, so that what it chooses is whole."""

    def load(about: Manifest) -> dict[int, Loaded]:
        found = {}
        for shard in about.shards if ranks.rank == 0 else [about.shards[0], *about.shards[1:][ranks.rank - 1 :][:1]]:
            loaded = restoring.load_shard(folder, shard, confirm if shard.rank == ranks.rank else None)
            if shard.rank in (0, ranks.rank):
                found[shard.rank] = loaded
        return found

    if ranks.rank == 0:
        chosen = restoring.newest(folder, load, tell)
        ranks.agree_on(chosen[0].step if chosen else 0)
        return chosen
    step = ranks.agree_on(None)
    if not step:
        return None
    about = manifest.read(manifest.place(folder, step))
    return about, load(about)


def values(
    shards: Mapping[int, Loaded], rank: int, per_rank: frozenset[str], allowed: frozenset[str]
) -> dict[str, Any]:
    """By entry. What processes have of their own is their own, and nobody's where there was no such process."""
    found = {}
    own = shards.get(rank)
    for name in {**shards[0].plain, **(own.plain if own else {})}:
        source = own if own is not None and name in own.plain else shards[0]
        if name == sharded.NAME or (own is None and (name in per_rank or name == randomness.NAME)):
            continue
        content = source.arrays.get(name, {})
        found[name] = trees.put_together(source.plain[name], content, allowed=allowed)
    return found


def pieces_of(folder: Path, about: Manifest) -> sharded.Read:
    """Reads what a process has kept of tensors that all of them share."""

    def read(rank: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        shard = about.shards[rank]
        only = msgspec.structs.replace(shard, items=[item for item in shard.items if item.name == sharded.NAME])
        found = restoring.load_shard(folder, only)
        return found.plain[sharded.NAME], found.arrays.get(sharded.NAME, {})

    return read


def migrated(about: Manifest, version: str, saved: dict[str, Any], migrate: Optional[Migrate]) -> Mapping[str, Any]:
    """As it was saved when the same version of the program did, else as the hook makes it."""
    if version or about.version:
        differences = [] if version == about.version else [f"it was {_called(about.version)} and is {_called(version)}"]
    else:
        differences = code.differences(about.code)
    if not differences:
        return saved
    if migrate is None:
        more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise CheckpointError(
            "CHECKPOINT_CODE_CHANGED",
            f"the checkpoint of step {about.step} was saved by another version of the program:"
            f" {', '.join(differences[:_SHOWN])}{more}",
            "restore(state, migrate=lambda saved: saved.state) takes it as it is, and a hook can change it; or begin"
            ' anew in another folder. What is saved from now on can have a name: checkpoint.open(version="2")',
            differences=differences,
        )  # fmt: skip
    made = migrate(Saved(step=about.step, version=about.version, differences=differences, state=trees.bare(saved)))
    if not isinstance(made, Mapping):
        raise CheckpointError(
            "CHECKPOINT_STATE_INVALID", f"the migrate hook returned {type(made).__name__} and no state",
            "it returns the state as this version of the program wants it: return saved.state",
        )  # fmt: skip
    return made


def _called(version: str) -> str:
    return f"version {version}" if version else "without a version"


def lay_all(saved: Mapping[str, Any], state: Optional[MutableMapping[str, Any]]) -> MutableMapping[str, Any]:
    """Puts what was saved into the program's state, or into a new one."""
    target: MutableMapping[str, Any] = {} if state is None else state
    if missing := [name for name in target if name not in saved]:
        raise CheckpointError(
            "CHECKPOINT_STATE_INVALID", f"nothing was saved under {', '.join(missing)}",
            "restore(state, migrate=…) can add what is missing",
        )  # fmt: skip
    for name, value in saved.items():
        target[name] = trees.lay(value, target.get(name), name)
    return target
