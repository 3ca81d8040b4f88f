"""Routing: from the head of a request to what is to be done with it, and to whoever answers.

`plan` reads the head, `routes` finds what a name means, `admission` adds what the route asks of its callers. A route
leads to its lane, or to what stands before it: `cache`, `split`, a tap.
Promises: what follows from a head is decided once for all requests with that head, and is void when the table changes;
a new deployment takes over when it is ready, and what is under way is not disturbed.
"""
