"""How did credits like this one end? Credits are kept in a Postgres database, and compared with those before them."""

from __future__ import annotations

from dataclasses import dataclass

import bough

MOST_LIKE = 50
KEEP = """
INSERT INTO credit (purpose, amount, duration_months, checking_account, credit_history)
VALUES (%(purpose)s, %(amount)s, %(duration_months)s, %(checking_account)s, %(credit_history)s) RETURNING id
"""
LIKE = """
SELECT count(*), coalesce(avg(bad::int), 0)::float8 FROM (
    SELECT bad FROM credit
    WHERE bad IS NOT NULL AND purpose = %(purpose)s
    ORDER BY (checking_account <> %(checking_account)s)::int + (credit_history <> %(credit_history)s)::int
        + abs(ln(amount::float8 / %(amount)s)) + abs(duration_months - %(duration_months)s) / 12.0, id
    LIMIT %(most)s
) AS nearest
"""


@dataclass
class Credit:
    purpose: str
    amount: int
    duration_months: int
    checking_account: str
    credit_history: str


@dataclass
class Record:
    id: int  # under which the credit was kept
    compared_with: int
    ended_badly: float  # share of those that it was compared with


class Book:
    preload = "imports"  # `load` runs in every replica: a connection must not be shared with one that is forked

    def load(self) -> None:
        self.rows = bough.database("credits", autocommit=True)

    def predict(self, credit: Credit) -> Record | bough.Reject:
        if credit.amount <= 0:
            return bough.Reject("amount is above 0", status=422)
        told = vars(credit)
        compared, bad = self.rows.execute(LIKE, told | {"most": MOST_LIKE}).fetchone()
        (id,) = self.rows.execute(KEEP, told).fetchone()
        return Record(id, compared, round(bad, 3))
