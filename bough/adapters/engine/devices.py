"""Which accelerators a unit gets, and whose turn it is. What others hold is given, what is free follows.

Two units never have more of a device than there is of it, with one exception: replicas of one service that belong to
different deployments count once, as one of the two takes over from the other. Otherwise a service on the only device of
a machine could not be deployed again without an outage.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from bough.kernel.devices import Device, share_of
from bough.kernel.errors import Invalid
from bough.runtime.spec import UnitSpec

Holder = tuple[UnitSpec, Sequence[str]]
"""A unit that runs, and the ids of the devices that it has."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARE = "BOUGH_GPU_SHARE"
_EXACT = 1e-9  # three thirds are one


def place(spec: UnitSpec, devices: Sequence[Device], holders: Iterable[Holder]) -> tuple[str, ...] | None:
    """The devices for `spec`, the fullest that still have room first, so that whole ones stay whole; None while it has
    to wait. Raises `Invalid` (DEVICES_TOO_FEW) where it could wait for ever."""
    count, share = math.ceil(spec.gpus), share_of(spec.gpus)
    known = {each.id for each in devices}
    if len(devices) < count or not known.issuperset(spec.devices):
        kinds = Counter(each.kind for each in devices)
        there = ", ".join(f"{number} {kind}" for kind, number in kinds.items()) or "none"
        raise Invalid(
            f"asks for {spec.gpus:g} GPU{'s' * (count > 1)}, and this machine has {there}", code="DEVICES_TOO_FEW",
            hint="lower resources.gpus in bough.toml; bough doctor shows what this machine has",
        )  # fmt: skip
    ours, theirs = _loads(spec, holders)
    unit_group = _deployment(spec)
    free = []
    for each in devices:
        beside = ours[each.id]
        others = max((load for name, load in beside.items() if name != unit_group), default=0.0)
        load = theirs[each.id] + max(others, beside[unit_group] + share)
        if load <= 1.0 + _EXACT:
            free.append((others > 0.0, -theirs[each.id] - beside[unit_group], each.id))
    found = {id for _, _, id in free}
    if spec.devices:
        return tuple(spec.devices) if found.issuperset(spec.devices) else None
    return tuple(id for _, _, id in sorted(free, key=lambda each: each[:2])[:count]) if len(free) >= count else None


class Allotment:
    """Who waits for accelerators, and in which order. Not for threads: engines have a lock of their own."""

    def __init__(self, there: Callable[[], Sequence[Device]]) -> None:
        """`there`: the accelerators of this machine, looked up when the first unit asks for some."""
        self._there = there
        self.waiting: list[str] = []  # keys, first come first served

    def give(self, key: str, spec: UnitSpec, holders: Iterable[Holder]) -> tuple[str, ...] | None:
        """What `place` gives whose turn it is. Nobody is overtaken: who asks for much would wait for ever."""
        found = place(spec, self._there(), holders)
        if key not in self.waiting:
            self.waiting.append(key)
        if found is None or self.waiting[0] != key:
            return None
        self.waiting.remove(key)
        return found

    def leave(self, key: str) -> None:
        """It has ended, and waits no more."""
        if key in self.waiting:
            self.waiting.remove(key)


def variables(spec: UnitSpec, given: Sequence[str]) -> dict[str, str]:
    """What its process finds: the devices that it may use, and how much of one where it has it with others."""
    share = {SHARE: f"{spec.gpus:g}"} if 0.0 < spec.gpus < 1.0 else {}
    return {VISIBLE: ",".join(given), **share}


def waits(spec: UnitSpec, holders: Iterable[Holder]) -> str:
    """Why it has to wait, in words."""
    names = sorted({_name(holder) for holder, given in holders if given})
    return f"waits for {spec.gpus:g} GPU{'s' * (spec.gpus > 1)}, held by {', '.join(names)}"


def _loads(spec: UnitSpec, holders: Iterable[Holder]) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """By device: what each deployment of the same service has of it, and what all others have together."""
    by_group: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(float)))
    for holder, given in holders:
        for id in given:
            by_group[_service(holder)][id][_deployment(holder)] += share_of(holder.gpus)
    ours = by_group.pop(_service(spec), defaultdict(lambda: defaultdict(float)))
    theirs: dict[str, float] = defaultdict(float)
    for loads in by_group.values():
        for id, deployments in loads.items():
            theirs[id] += max(deployments.values())
    return ours, theirs


def _service(spec: UnitSpec) -> str:
    labels: Mapping[str, str] = spec.labels
    if "deployment" not in labels:
        return f"unit {spec.unit}"
    return "/".join(labels.get(name, "") for name in ("project", "environment", "service"))


def _deployment(spec: UnitSpec) -> str:
    return spec.labels.get("deployment", spec.unit)


def _name(spec: UnitSpec) -> str:
    labels = spec.labels
    if "job_run" in labels:
        return f"the job {labels.get('job', '')} ({labels['job_run']})"
    if "service" in labels:
        return f"{labels['service']} of {labels.get('project', '')}/{labels.get('environment', '')}"
    return spec.unit
