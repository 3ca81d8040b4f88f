"""How much electricity will be needed in half an hour? Readings are kept in a SQLite database, and answered from it."""

from __future__ import annotations

from dataclasses import dataclass

import bough

DAYS = 7  # a week: every weekday once
CHANGES = """
SELECT avg(later.demand - earlier.demand), count(*)
FROM demand AS earlier JOIN demand AS later ON later.day = earlier.day AND later.half_hour = earlier.half_hour + 1
WHERE earlier.half_hour = :half_hour AND earlier.day BETWEEN :day - :days AND :day - 1
"""
KEEP = """
INSERT INTO demand VALUES (:day, :half_hour, :weekday, :demand)
ON CONFLICT (day, half_hour) DO UPDATE SET demand = excluded.demand
"""


@dataclass
class Reading:
    day: int
    half_hour: int  # 0 to 46: the forecast stays within the day
    weekday: int
    demand: float


@dataclass
class Next:
    demand: float
    days: int  # on how many days it rests


class Forecast:
    preload = "imports"  # `load` runs in every replica: a connection must not be shared with one that is forked

    def load(self) -> None:
        self.rows = bough.database("readings")

    def predict(self, reading: Reading) -> Next | bough.Reject:
        if not 0 <= reading.half_hour <= 46:
            return bough.Reject("half_hour is 0 to 46", status=422)
        told = vars(reading)
        self.rows.execute(KEEP, told)
        self.rows.commit()
        change, days = self.rows.execute(CHANGES, told | {"days": DAYS}).fetchone()
        return Next(round(reading.demand + (change or 0.0), 4), days)
