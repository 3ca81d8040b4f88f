"""Verbs of baselines: what was measured elsewhere or before, to compare with."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.adapters.blobs import Blobs
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.names import check_name
from bough.kernel.operations import Commit, Nothing, operation
from bough.mirrors import measuring, store
from bough.mirrors.measuring import ALL, ERRORS, REQUESTS, Measured
from bough.mirrors.models import Baseline, BaselineChange, ServiceComparison
from bough.mirrors.operations import OneMirror, report

MOST_BYTES = 256 << 20  # of a file
SIDES = ("source", "target")

Name = Annotated[str, msgspec.Meta(description="the baseline")]


class AddBaseline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Annotated[str, msgspec.Meta(description="what it is called")]
    content: Annotated[str, msgspec.Meta(description="digest of a blob with the file")]


class BaselinesOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str


class OneBaseline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name


class DiffBaseline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    against: Annotated[str, msgspec.Meta(description="id of a mirror or a replay, or another baseline")]
    side: Annotated[str, msgspec.Meta(description="of a mirror or a replay: source, or target")] = "target"


@operation("baselines.add", role=Role.DEVELOPER, writes=True, command="baselines take", slow=True)
def add(context: Context, request: AddBaseline) -> Commit[Baseline]:
    """Keeps what a file says of requests, under a name: HAR, CSV, or the JSON of k6, vegeta or oha.

    `bough baselines add NAME FILE` sends it."""
    check_name(request.name, "baseline")
    blobs = context.part(Blobs)
    if blobs.size(request.content) > MOST_BYTES:
        raise Invalid(f"the file has more than {MOST_BYTES >> 20} MB", code="BASELINE_UNREADABLE",
                      hint="give the summary in place of every request")  # fmt: skip
    made = Baseline(
        project=request.project, name=request.name, by=context.principal.name, at=context.clock.now(),
        measured=measuring.read(blobs.read(request.content)),
    )  # fmt: skip

    def commit(context: Context) -> Baseline:
        if any(each.name == made.name for each in store.baselines(context.tx, made.project)):
            raise Conflict(f"there is a baseline {made.name!r} already", code="BASELINE_EXISTS",
                           hint=f"bough baselines remove {made.name}")  # fmt: skip
        store.add_baseline(context.tx, made)
        return made

    return commit


@operation("baselines.list", role=Role.VIEWER)
def list_(context: Context, request: BaselinesOf) -> list[Baseline]:
    """Lists the baselines of a project, newest first."""
    return store.baselines(context.tx, request.project)


@operation("baselines.remove", role=Role.DEVELOPER, writes=True)
def remove(context: Context, request: OneBaseline) -> Nothing:
    """Removes a baseline."""
    store.baseline_named(context.tx, request.project, request.name)
    store.remove_baseline(context.tx, request.project, request.name)
    return Nothing()


@operation("baselines.diff", role=Role.VIEWER)
def diff(context: Context, request: DiffBaseline) -> list[BaselineChange]:
    """Compares a baseline with what a mirror or a replay has measured, or with another baseline: latencies, errors, and
    how long pages took to load, name by name. A service that the baseline does not name is compared with all of it."""
    before = store.baseline_named(context.tx, request.project, request.name).measured
    if request.side not in SIDES:
        raise Invalid(f"{request.side!r} is no side", code="SIDE_UNKNOWN", hint="--side target, or --side source")
    if request.against.startswith(("mir_", "rep_")):
        found = report.function(context, OneMirror(id=request.against))
        now = {each.service: _measured(each, request.side) for each in found.services}
    else:
        now = store.baseline_named(context.tx, request.project, request.against).measured
    return changes(before, now)


def changes(before: Measured, now: Measured) -> list[BaselineChange]:
    """What both know, by name."""
    found = []
    for name, metrics in now.items():
        old = before.get(name) or before[ALL]
        found += [
            BaselineChange(
                name=name, metric=metric, baseline=old[metric], now=value,
                change_percent=round(100 * (value / old[metric] - 1), 1) if old[metric] else 0.0,
            )
            for metric, value in metrics.items() if metric in old
        ]  # fmt: skip
    return found


def _measured(of: ServiceComparison, side: str) -> dict[str, float]:
    each = of.source if side == "source" else of.target
    answers = {REQUESTS: float(of.compared), ERRORS: each.errors / of.compared if of.compared else 0.0}
    return answers | {"p50_ms": each.p50_ms, "p95_ms": each.p95_ms, "p99_ms": each.p99_ms}
