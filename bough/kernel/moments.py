"""Times and durations as people write them: `3d`, `12h`, `2026-05-03T12:00`, `2h ago`."""

from __future__ import annotations

import re
from datetime import datetime

from bough.kernel.errors import Invalid

# Of what kernel/points.py resolves; here, because the command line says it and need not load a database for that.
ABOUT_POINTS = (
    "environment, tag, time (of the server, unless with a zone), age (2h), #CHANGE, or ENVIRONMENT@ one of these"
)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def duration_s(text: str) -> float:
    """Seconds in `90s`, `1.5h`, `3d`, `1d12h`; raises `Invalid` (DURATION_INVALID)."""
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise Invalid(
            f"{text!r} is not a duration",
            code="DURATION_INVALID",
            hint="write a number and s, m, h, d or w, such as 3d",
        )
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def moment(text: str, now: float) -> float | None:
    """Seconds since the epoch for an ISO 8601 date or time (local without a zone) or an age, `2h` or `2h ago`; None for
    anything else."""
    try:
        return now - duration_s(text.strip().removesuffix(" ago"))
    except Invalid:
        pass
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError):
        return None
