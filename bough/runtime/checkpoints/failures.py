"""What may be wrong with a checkpoint, in words that end with what to do.

CHECKPOINT_STATE_INVALID     something in the state cannot be kept, or does not fit what was saved
CHECKPOINT_CODE_CHANGED      it was saved by another version of the program, and no hook says how to go on from it
CHECKPOINT_DAMAGED           its bytes are not those that were written
CHECKPOINT_FOLDER_IN_USE     another process saves into the same folder
CHECKPOINT_ORDER_CHANGED     the data would come in another order than before
CHECKPOINT_INTERVAL_INVALID  `every` was given something that is no interval
CHECKPOINT_FORMAT_UNKNOWN    it was written by a newer Bough
CHECKPOINT_RANKS_LOST        the first of several processes said nothing
"""

from __future__ import annotations

from typing import Any

# Of a checkpoint that does not fit the program: with the same files and the same checkpoint the answer is the same.
SAME_AGAIN = frozenset(
    {
        "CHECKPOINT_CODE_CHANGED",
        "CHECKPOINT_FORMAT_UNKNOWN",
        "CHECKPOINT_ORDER_CHANGED",
        "CHECKPOINT_STATE_INVALID",
    }
)


class CheckpointError(Exception):
    """Says what happened and why; `hint` is what to do next."""

    def __init__(self, code: str, message: str, hint: str = "", **fields: Any) -> None:
        super().__init__(f"{message}\n  try: {hint}" if hint else message)
        self.code, self.message, self.hint, self.fields = code, message, hint, fields


def damaged(what: str) -> CheckpointError:
    return CheckpointError("CHECKPOINT_DAMAGED", what, "an older checkpoint is used, when there is one")
