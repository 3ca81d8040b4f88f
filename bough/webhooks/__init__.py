"""Webhooks: addresses that are told what happens in a project, one event after the other.

Nouns: webhook (an address, and which events it is told of).
Promises: every event that matches is told in order, as the Standard Webhooks specification has it (id, timestamp,
signature), again until it arrives or has been tried for half a day; the same id however often; a receiver that is away
holds up nobody else.
Never: tells of what happened before it was added, or of other projects; follows redirects; shows its secret again.
"""
