"""Which Pythons a project may ask for."""

from __future__ import annotations

import re

OLDEST = (3, 9)  # what a replica's own code runs on
_REQUEST = re.compile(r"3(\.\d{1,3}){0,2}")


def numbers(version: str) -> tuple[int, ...]:
    """At most three: (3, 11, 7)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def wrong(request: str) -> str:
    """Why no Python can ever be what is asked for; empty: one can, or nothing in particular is asked for."""
    oldest = ".".join(map(str, OLDEST))
    if request and not _REQUEST.fullmatch(request):
        return f"{request!r} is no version of Python: write 3, 3.11 or 3.11.7, from {oldest} on"
    if request and OLDEST[: len(numbers(request))] > numbers(request):
        return f"Python {request} is too old: {oldest} is the oldest that Bough runs programs with"
    return ""
