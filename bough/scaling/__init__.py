"""Scaling: as many replicas as the traffic needs, some warm ones for what it may need next, none where nobody asks.

Nouns: scale (a service's bounds and aims), signal (what can ask for replicas), outlook (what a service's past says of
the next moments), wish (replicas that are to answer, and to wait), warm pool (warm replicas without traffic), objective
(the wait that requests may have), weight (what a late request counts), scaling decision (a wish with what it rests on).
Promises: one rule, pure, live and simulated; every decision is kept with its inputs and its reason; what waits is never
taken for load; bounds hold whatever the traffic; a server that is gone leaves the replicas as they are.
Never: sends or holds a request (the gateway's), starts a process (serving's and the engine's).
"""
