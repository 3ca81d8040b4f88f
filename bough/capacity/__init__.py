"""Capacity: on what a job runs, so that it is done in time at the least cost.

Nouns: pool, zone, offer, lease, situation, decision, spell.
Promises: a deadline that can be kept when a job starts is kept, whatever is taken away meanwhile: what could miss it is
not among the choices. Every decision says why. What was seen of a zone is remembered, and changes later decisions.
Never: starts or stops a program; rents anything that nobody asked for.
"""
