"""Costs: what workloads have used and what that came to, by any grouping, and what environments may cost.

Nouns: cost centre (who pays, as a workload says), payer (a workload with its cost centre and tags), meter (what shows
how much something has used), usage (what it had in a day), budget (of an environment, for a month).
Promises: every second of a lease and of a process is counted once, for the payer that it had then; the lines of a
report sum to its groups, and the groups to the whole. What was counted stays when an environment goes. A budget that is
spent lets nothing grow, and ends nothing.
Never: asks a capability; it reads events, the engine's figures, and what it is told of services and databases.
"""
