"""Verbs of optimizing."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Annotated

import msgspec

from bough.data import store as data
from bough.kernel import catalog
from bough.kernel.catalog import Point, layer_of
from bough.kernel.context import Context, Role
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.model_references import check_alias, check_name
from bough.kernel.names import new_id
from bough.kernel.operations import operation
from bough.kernel.platform import Platform
from bough.kernel.policy import Metric
from bough.kernel.project import PRODUCTION
from bough.optimizing import store
from bough.optimizing.models import METHODS, QUANTIZE, RUNNING, STATIC, Judging, Optimization
from bough.registry import store as registry
from bough.registry.candidates import CANDIDATE

Environment = Annotated[str, msgspec.Meta(description="environment; main is production")]


class QuantizeModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Annotated[str, msgspec.Meta(description="NAME@ALIAS or NAME/NUMBER, an ONNX model")]
    data: Annotated[
        str, msgspec.Meta(description="DATASET/PATH with rows to measure on: CSV, JSON lines, Parquet or NPZ")
    ]
    environment: Environment = PRODUCTION
    label: Annotated[
        str,
        msgspec.Meta(description="column with the right answer; without it, what the model before answers is right"),
    ] = ""
    hidden: Annotated[list[str], msgspec.Meta(description="column that the model is not given")] = []
    answer: Annotated[str, msgspec.Meta(description="output that is compared, where there are several")] = ""
    metric: Annotated[str, msgspec.Meta(description="accuracy, f1, auc, rmse or mae")] = "accuracy"
    max_loss: Annotated[float, msgspec.Meta(ge=0, description="how much of the metric may be lost")] = 0.01
    method: Annotated[
        str, msgspec.Meta(description="dynamic, static, or best: both, and the better of those that pass")
    ] = "best"
    calibration: Annotated[
        str, msgspec.Meta(description="DATASET/PATH with inputs from which static quantization takes its ranges")
    ] = ""
    rows: Annotated[int, msgspec.Meta(ge=20, le=1_000_000, description="rows to measure on, at most")] = 2000
    core_hour: Annotated[
        float, msgspec.Meta(ge=0, description="price of one core for an hour; else the price book's")
    ] = 0.0
    becomes: Annotated[
        str,
        msgspec.Meta(
            description="model of which the result is a version; the same without it", extra_json_schema={"flag": "as"}
        ),
    ] = ""
    aliases: Annotated[list[str], msgspec.Meta(description="alias that the result gets; candidate without it")] = []


class OneOptimization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str


class ListOptimizations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Environment = PRODUCTION
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20


@operation("optimize.quantize", role=Role.DEVELOPER, writes=True)
def quantize(context: Context, request: QuantizeModel) -> Optimization:
    """Makes int8 contenders of an ONNX model, measures them beside it, and registers the best that passes the gate."""
    place = request.project, request.environment
    _check_choice("metric", request.metric, typing.get_args(Metric))
    _check_choice("method", request.method, METHODS)
    if request.method == STATIC and not request.calibration:
        raise Invalid(
            "static quantization takes its ranges from data", code="CALIBRATION_MISSING",
            hint=f"bough optimize quantize {request.model} {request.data} --calibration DATASET/PATH",
        )  # fmt: skip
    catalog.writable_layer(context.tx, *place, context.principal)  # who may not register may not begin
    found = registry.resolve(context.tx, place, request.model)
    for wanted in filter(None, (request.data, request.calibration)):
        check_data(context, place, wanted)
    judging = Judging(
        data=request.data, label=request.label, hidden=request.hidden, answer=request.answer,
        metric=typing.cast(Metric, request.metric),
        max_loss=request.max_loss, rows=request.rows,
        core_hour=request.core_hour or context.part(Platform).core_hour,
    )  # fmt: skip
    aliases = [check_alias(each) for each in request.aliases or [CANDIDATE]]
    made = Optimization(
        id=new_id("opt"), project=place[0], environment=place[1], kind=QUANTIZE, model=found.reference,
        parent=found.id, becomes=check_name(request.becomes or found.name), method=request.method,
        calibration=request.calibration, judging=judging, aliases=aliases,
        student="", run="", state=RUNNING, by=context.principal.name, started_at=context.clock.now(),
    )  # fmt: skip
    return store.add(context.tx, made)


@operation("optimize.show", role=Role.VIEWER)
def show(context: Context, request: OneOptimization) -> Optimization:
    """Shows an optimization: accuracy, latency, size and cost of every contender, and what the gate said."""
    return store.get(context.tx, request.id)


@operation("optimize.list", role=Role.VIEWER)
def list_(context: Context, request: ListOptimizations) -> list[Optimization]:
    """Lists optimizations of an environment, newest first."""
    return store.recent(context.tx, (request.project, request.environment), request.limit)


def check_data(context: Context, place: tuple[str, str], wanted: str) -> None:
    """Raises `NotFound` (DATA_NOT_FOUND)."""
    if not data.files(context.tx, Point(layer_of(context.tx, *place)), wanted):
        dataset, _, path = wanted.partition("/")
        raise NotFound(
            f"{'/'.join(place)} has no data {wanted!r}", code="DATA_NOT_FOUND",
            hint=f"bough data put {dataset or 'DATASET'} {path or 'FILE'}",
        )  # fmt: skip


def _check_choice(what: str, given: str, choices: Sequence[str]) -> None:
    if given not in choices:
        raise Invalid(
            f"{given!r} is no {what}; there is {', '.join(choices)}", code="CHOICE_UNKNOWN",
            hint="bough optimize quantize --help",
        )  # fmt: skip
