"""How many requests has this caller left in this hour? Counts are in a Redis database, shared by all replicas."""

from __future__ import annotations

import time
from dataclasses import dataclass

import bough

WINDOW_S = 3600


@dataclass
class Asked:
    caller: str
    limit: int = 5  # requests in a window


@dataclass
class Told:
    allowed: bool
    left: int
    resets_in_s: int


class RateLimit:
    preload = "imports"  # `load` runs in every replica: a connection must not be shared with one that is forked

    def load(self) -> None:
        self.counts = bough.database("counts")

    def predict(self, asked: Asked) -> Told | bough.Reject:
        if asked.limit < 1:
            return bough.Reject("limit is at least 1", status=422)
        window, passed_s = divmod(int(time.time()), WINDOW_S)
        key = f"caller:{asked.caller}:{window}"
        with self.counts.pipeline(transaction=True) as both:
            count, _ = both.incr(key).expire(key, WINDOW_S).execute()
        return Told(count <= asked.limit, max(0, asked.limit - count), WINDOW_S - passed_s)
