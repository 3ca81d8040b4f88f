"""Verbs of pushes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.kernel.context import Context, Role
from bough.kernel.operations import operation
from bough.pushes import rules, store
from bough.pushes.models import Pushes


class ListPushes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Annotated[str, msgspec.Meta(description="one environment; all without it")] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20


@operation("pushes.list", role=Role.VIEWER, command="git pushes")
def list_pushes(context: Context, request: ListPushes) -> Pushes:
    """Lists what was pushed and how many seconds it took from push to URL, with the median."""
    return rules.summary(store.newest(context.tx, request.project, request.environment, request.limit))
