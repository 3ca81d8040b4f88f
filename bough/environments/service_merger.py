"""Merging services: the versions of secrets and models that each side runs with are nobody's change.

A password that was changed in production must not stand in the way of every branch that touches the service; what comes
of a merge runs with the versions that its target sees (`references.services_here`).
"""

from __future__ import annotations

from typing import Any

from bough.kernel.catalog import SERVICE
from bough.kernel.merging import OURS, Choices, Conflict

_VERSIONS = ("secrets", "models", "digest")


class ServiceMerger:
    """The merger of the kind `service`."""

    def merge(self, key: str, base: Any, ours: Any, theirs: Any, choices: Choices) -> tuple[Any, list[Conflict]]:
        was, mine, other = (_without_versions(each) for each in (base, ours, theirs))
        if other in (was, mine):
            return ours, []
        if mine == was or choices.all:
            return (ours if choices.all == OURS and mine != was else theirs), []
        return None, [Conflict(kind=SERVICE, key=key, base=base, ours=ours, theirs=theirs)]


def _without_versions(value: Any) -> Any:
    """What a person has changed in a service; which secrets and models it uses stands in its settings."""
    return None if value is None else {key: each for key, each in value.items() if key not in _VERSIONS}
