"""What replicas sampled of inputs and outputs, added up; shown by `metrics`. Replicas run users' code, so nothing that
they send is trusted: what is malformed is dropped, and what is bounded there is bounded here again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from bough.gateway import rules
from bough.runtime.frames import (
    MAX_FIELDS,
    MAX_PATH,
    MAX_STATS_BYTES,
    MAX_VALUES,
    MAX_WORD,
    VALUE_BOUNDS,
    FieldStats,
    SideStats,
    decode_observed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

OTHER = "(other)"  # no text that counts as a category has parentheses


class FieldTotals:
    __slots__ = ("buckets", "other", "present", "sum", "values")

    def __init__(self) -> None:
        self.present = 0
        self.sum = 0.0
        self.buckets = [0] * (len(VALUE_BOUNDS) + 1)
        self.values: dict[str, int] = {}
        self.other = 0

    def add(self, more: FieldStats) -> None:
        self.present += more.present
        if math.isfinite(more.sum):
            self.sum += more.sum
        for bucket, count in more.buckets.items():
            if 0 <= bucket < len(self.buckets):
                self.buckets[bucket] += count
        for value, count in more.values.items():
            if value in self.values or (len(self.values) < MAX_VALUES and len(value) <= MAX_WORD):
                self.values[value] = self.values.get(value, 0) + count
            else:
                self.other += count
        self.other += more.other


class SideTotals:
    """Of inputs or of outputs."""

    __slots__ = ("dropped", "fields", "items")

    def __init__(self) -> None:
        self.items = 0
        self.dropped = 0
        self.fields: dict[str, FieldTotals] = {}

    def add(self, more: SideStats) -> None:
        self.items += more.items
        self.dropped += more.dropped
        for path, stats in more.fields.items():
            field = self.fields.get(path)
            if field is None:
                if len(self.fields) >= MAX_FIELDS or len(path) > MAX_PATH:
                    self.dropped += 1
                    continue
                field = self.fields[path] = FieldTotals()
            field.add(stats)


class ModelStats:
    """Of one release."""

    __slots__ = ("_further_before", "further", "further_per_s", "input", "output")

    def __init__(self) -> None:
        self.input = SideTotals()
        self.output = SideTotals()
        self.further = 0  # items beyond the first of requests that carried several
        self.further_per_s = 0.0  # running mean
        self._further_before = 0

    def add(self, body: bytes) -> None:
        """The body of a reply with `flag=STATS`."""
        if len(body) > MAX_STATS_BYTES:
            return
        try:
            more = decode_observed(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        self.input.add(more.input)
        self.output.add(more.output)
        self.further += more.further

    def tick(self) -> None:
        """Once a second."""
        self.further_per_s = rules.smooth(self.further_per_s, float(self.further - self._further_before))
        self._further_before = self.further


def families(labels: list[str], models: list[tuple[tuple[str, ...], ModelStats]]) -> Iterator[Metric]:
    """For the Prometheus text; runs beside the event loop, so dictionaries are copied before they are walked."""
    for side in ("input", "output"):
        sides: list[tuple[tuple[str, ...], SideTotals]] = [(of, getattr(stats, side)) for of, stats in models]
        yield from _side(side, labels, [(of, totals) for of, totals in sides if totals.items])


def _side(side: str, labels: list[str], totals: Iterable[tuple[tuple[str, ...], SideTotals]]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily
    from prometheus_client.core import Metric as Family

    name = f"bough_model_{side}"
    items = CounterMetricFamily(f"{name}_sampled", f"Items whose {side} was counted", labels=labels)
    dropped = CounterMetricFamily(f"{name}_dropped", "Values of fields beyond the limit", labels=labels)
    missing = CounterMetricFamily(
        f"{name}_missing", "Sampled items in which a field was null or absent", labels=[*labels, "field"]
    )
    numbers = Family(f"{name}_value", f"Numbers in a field of the {side}", "histogram")
    categories = CounterMetricFamily(
        f"{name}_category", f"Values of a field of the {side}", labels=[*labels, "field", "value"]
    )
    for of, side_totals in totals:
        items.add_metric(of, side_totals.items)
        dropped.add_metric(of, side_totals.dropped)
        for path, field in list(side_totals.fields.items()):
            missing.add_metric([*of, path], max(0, side_totals.items - field.present))
            if any(field.buckets):
                _histogram(numbers, {**dict(zip(labels, of, strict=True)), "field": path}, field)
            for value, count in list(field.values.items()):
                categories.add_metric([*of, path, value], count)
            if field.other:
                categories.add_metric([*of, path, OTHER], field.other)
    yield from (items, dropped, missing, numbers, categories)


def _histogram(family: Metric, labels: dict[str, str], field: FieldTotals) -> None:
    """By hand: the library leaves sum and count out where a bound is below zero, as OpenMetrics has it. Here the sum
    is worth having, although it is no counter when numbers are negative."""
    buckets = cumulative(VALUE_BOUNDS, field.buckets)
    for bound, count in buckets:
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{family.name}_count", labels, buckets[-1][1])
    family.add_sample(f"{family.name}_sum", labels, field.sum)


def cumulative(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    """Prometheus' buckets, each with all below it, out of counts that stand for themselves."""
    total, buckets = 0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
