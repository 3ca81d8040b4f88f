"""Mirrors and replays: an environment's requests in another one, and what differs.

Nouns: mirror (copies of live requests), replay (requests that were kept, sent again), kept requests, pair (both answers
to one request), comparison (what all pairs say).
Promises: a caller never waits for a copy and never sees its answer; requests are kept only where the service says so,
and without the fields that it names; a report counts what was left out.
Never: copies to an environment of another project; keeps a request's headers.
"""
