"""One credit application: its fields as a client sends them, and its numbers as the model sees them.

Training and serving both go through `encode`, so they cannot drift apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np


@dataclass(frozen=True)
class Application:
    """Money is in Deutsche Mark of the 1970s; see DATA.md."""

    checking_account: Literal["none", "below 0", "0 to 200", "200 and more"]
    duration_months: int
    credit_history: Literal["none taken", "all paid here", "paid so far", "delayed before", "critical"]
    purpose: Literal[
        "new car", "used car", "furniture", "radio or television", "appliances",
        "repairs", "education", "retraining", "business", "other",
    ]  # fmt: skip
    amount: int
    savings: Literal["unknown or none", "below 100", "100 to 500", "500 to 1000", "1000 and more"]
    employed_years: Literal["unemployed", "below 1", "1 to 4", "4 to 7", "7 and more"]
    installment_rate: int  # 1 to 4: four for the largest share of the income
    other_debtors: Literal["none", "co-applicant", "guarantor"]
    residence_years: int  # 1 to 4: four and more
    property: Literal["real estate", "savings or life insurance", "car or other", "unknown or none"]
    other_installments: Literal["none", "bank", "store"]
    housing: Literal["own", "rent", "for free"]
    existing_credits: int
    job: Literal["none or casual", "unskilled", "skilled", "management"]
    telephone: Literal["no", "yes"]

    def __post_init__(self) -> None:
        for field in ("duration_months", "amount"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1")


_HINTS: dict[str, Any] = get_type_hints(Application)
COLUMNS: list[tuple[str, str]] = [  # field and choice; "" for a number
    (field, choice)
    for field, hint in _HINTS.items()
    for choice in (get_args(hint) if get_origin(hint) is Literal else ("",))
]
FIELDS = list(_HINTS)
NUMBERS = [field for field, hint in _HINTS.items() if hint is int]
_COLUMN = {column: index for index, column in enumerate(COLUMNS)}


def encode(applications: Sequence[Application]) -> np.ndarray:
    """One row per application, one column per entry of `COLUMNS`: numbers as they are (the amount as its logarithm),
    choices as a 1 in their column."""
    rows = np.zeros((len(applications), len(COLUMNS)))
    for row, application in zip(rows, applications, strict=True):
        for field in FIELDS:
            value = getattr(application, field)
            if field == "amount":
                row[_COLUMN[field, ""]] = math.log(value)
            elif field in NUMBERS:
                row[_COLUMN[field, ""]] = value
            else:
                row[_COLUMN[field, value]] = 1.0
    return rows
