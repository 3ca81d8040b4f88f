"""Schedules as cron writes them, `minute hour day month weekday`: what jobs and queues have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

EXAMPLE = 'schedule = "0 3 * * *"'
_FIELDS = 5


def wrong(schedule: str) -> str:
    """Why it cannot be meant; empty: all is well."""
    said = f"{schedule!r} is no schedule"
    if (fields := len(schedule.split())) != _FIELDS:
        return f"{said}: it has {fields} fields, and minute hour day month weekday are {_FIELDS}"
    try:
        first = next(CronSim(schedule, datetime.now(UTC)), None)
    except CronSimError as error:
        return f"{said}: {str(error).lower()}"
    return "" if first is not None else f"{said}: such a day never comes"


def upcoming(schedule: str, timezone: str, after: float) -> float:
    """The first slot after a moment; both in seconds since the epoch."""
    return next(CronSim(schedule, datetime.fromtimestamp(after, ZoneInfo(timezone)))).timestamp()
