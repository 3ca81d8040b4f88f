"""Queues, as the gateway serves them: items come in, go to the service that handles them, and are asked after.

Promises: an item is on disk before it is answered for; it goes through its service's own lane, where it gives way to
direct requests; queues go on without the control plane.
Never: decides when an item is tried again or is dead: that is `bough.queues`.
"""
