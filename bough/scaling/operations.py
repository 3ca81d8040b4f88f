"""Verbs of scaling."""

from __future__ import annotations

from bough.kernel.context import Context, Role
from bough.kernel.operations import operation
from bough.scaling.replaying import Simulate, Simulation, replayed


@operation("scale.simulate", role=Role.VIEWER, slow=True)
def simulate_trace(context: Context, request: Simulate) -> Simulation:
    """Replays traffic through the rule that scales services, or through another one: cost, lateness, the curve."""
    return replayed(request)
