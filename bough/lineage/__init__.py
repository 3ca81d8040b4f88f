"""Lineage: what a thing was made from, and what was made from it.

Nouns: lineage (what a thing came from and what came of it), edge (from one thing to one that was made with it),
receiver (who is told of new edges, as OpenLineage events).
Promises: edges are read from what versions, runs and releases say already, so there is nothing to keep in step; only
what others report (OpenLineage) is kept here. A thing keeps its id when it is renamed. An event that comes twice
changes nothing; one that is sent was written down in the transaction that it tells of, and goes until it arrives.
Never: decides anything, or reads what data holds.
"""
