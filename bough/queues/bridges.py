"""From one queue to another, of this Bough or of another one: a result becomes an item there.

Nothing is lost: what is to go on is written down with the item's end and is tried until the other side has said that it
has it. Nothing comes twice: the dedup id there is made of what the item is here.
"""

from __future__ import annotations

from bough.adapters.queue import Draft, Kept
from bough.kernel.queue import Forward

TO = "queue"  # as deliveries name it


def draft(item: Kept, forward: Forward) -> Draft:
    """For a queue of this Bough."""
    place = (forward.project or item.place[0], forward.environment or item.place[1], forward.queue)
    return Draft(place=place, body=item.result, kind=item.result_kind, key=item.key, dedup=dedup(item))


def headers(item: Kept, forward: Forward, authorization: str) -> dict[str, str]:
    """For a queue of another one. A key goes as UTF-8: what writes headers takes Latin-1 and nothing else."""
    said = {
        "Content-Type": item.result_kind or "application/json", "Idempotency-Key": dedup(item),
        "Authorization": authorization, "X-Bough-Key": item.key.encode().decode("latin-1"),
        "X-Bough-Project": forward.project, "X-Bough-Environment": forward.environment,
    }  # fmt: skip
    return {name: value for name, value in said.items() if value}


def dedup(item: Kept) -> str:
    return f"{'/'.join(item.place)}/{item.id}"
