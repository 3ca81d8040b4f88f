"""Which checkpoints stay."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """`newest` of them, at least one; of the older ones every `every`th step, 0 for none."""

    newest: int = 3
    every: int = 0


def superfluous(steps: Sequence[int], keep: Keep) -> list[int]:
    """Of all steps with a checkpoint those that go."""
    newest = sorted(steps, reverse=True)[: max(1, keep.newest)]
    return [step for step in steps if step not in newest and not (keep.every and step % keep.every == 0)]


def may_give_way(steps: Sequence[int], keep: Keep) -> list[int]:
    """On a full disk: all but the newest, and those that are kept for good."""
    return superfluous(steps, Keep(newest=1, every=keep.every))
