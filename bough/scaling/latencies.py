"""The latency that scaling looks at: within which 99 of 100 answers came, from a histogram as the gateway keeps it."""

from __future__ import annotations

from collections.abc import Sequence

from bough.gateway.telemetry.metrics import LATENCY_S

SLOWEST = 0.99


def within_s(counts: Sequence[int]) -> float:
    """Upper end of the class in which the percentile falls; 0.0 where nothing was answered."""
    total, count = sum(counts), 0
    for place, each in enumerate(counts):
        count += each
        if total and count >= SLOWEST * total:
            return LATENCY_S[min(place, len(LATENCY_S) - 1)]
    return 0.0
