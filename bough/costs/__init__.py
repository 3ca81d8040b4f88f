"""Costs: what workloads have used and what that came to, by cost centre.

Nouns: cost centre (who pays, as a workload says), payer (a workload with its cost centre), usage (what it had in a
day).
Promises: every second of a lease and of a replica is counted once, under the centre that its workload had then; the
lines of a report sum to its centres, and the centres to the whole. What was counted stays when an environment goes.
Never: asks a capability; it reads events, the engine's figures, and what `app.py` tells of services.
"""
