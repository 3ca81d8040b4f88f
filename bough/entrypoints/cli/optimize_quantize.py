"""`bough optimize quantize`: starts it, waits, and shows what came of it."""

from __future__ import annotations

import time
from typing import Any

import click

from bough.client.contract import contract
from bough.entrypoints.cli import derived, optimizing
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import WorkloadFailed

_NAME = "optimize.quantize"
_OPERATION = contract()["operations"][_NAME]
LOOK_S = 0.5  # between two looks at a unit that works for seconds to minutes


def run(session: Session, detach: bool, **values: Any) -> None:
    answer = session.client().call(_NAME, **derived.fields_of(_OPERATION, values))
    while not detach and answer["state"] == "running":
        time.sleep(LOOK_S)
        answer = session.client().optimize.show(id=answer["id"])
    session.answer(answer, text=None if session.json else optimizing.optimization(session, answer))
    if answer["state"] in ("refused", "failed"):
        refused = answer["state"] == "refused"
        raise WorkloadFailed(
            f"{answer['model']} stays as it is; {answer['said']}",
            code="OPTIMIZATION_REFUSED" if refused else "OPTIMIZATION_FAILED",
            hint=f"bough optimize show {answer['id']}"
            + (", then with another --method, --calibration or --max-loss" if refused else ""),
        )


command = make(
    "quantize",
    derived.help_of(_OPERATION),
    [*derived.parameters(_OPERATION), click.Option(["--detach"], is_flag=True, help="Do not wait for the result.")],
    run,
    examples="Examples:\n  bough optimize quantize digits@champion images/test.npz --label digit"
    " --calibration images/train.npz\n  bough optimize quantize churn/7 churn/test.csv --label churned --metric auc",
)
