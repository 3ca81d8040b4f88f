"""What zones had, by tick: from the files of public traces, or made."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

from bench.spot.judge import TICK_H
from bough.adapters.capacity import availability

Trace = bytes  # one 0 or 1 for every tick


def read(path: Path) -> dict[str, Trace]:
    """`trace, gap_s, …, rle` as docs/capacity.md describes; a tick has what the last sample before it saw."""
    found: dict[str, Trace] = {}
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            samples = bytearray()
            for part in row["rle"].split():
                value, count = part.split("x")
                samples += bytes([int(value) > 0]) * int(count)
            gap_h = float(row["gap_s"]) / 3600.0
            ticks = int(len(samples) * gap_h / TICK_H)
            name = "/".join(row["trace"].split("/")[-2:]).removeprefix("aws-")
            found[name] = bytes(samples[int(tick * TICK_H / gap_h)] for tick in range(ticks))
    return found


def made_up(zones: int) -> dict[str, Trace]:
    """By the generator that pools replay when they are given no file; all of one length, to be used together."""
    found = {f"zone-{number}": availability.made_up(f"zone-{number}", seed=number) for number in range(zones)}
    ticks = int(min(zone.length for zone in found.values()) / TICK_H)
    return {name: bytes(zone.up_at(tick * TICK_H) for tick in range(ticks)) for name, zone in found.items()}
