"""Serving: makes releases true. Builds, starts, checks, switches; returns to the old release when the new one fails.

Nouns: deployment (one service at one digest in one environment), replica (one unit of it), rollout (bringing a release
to life).
Promises: the old release serves until every service of the new one answers; a release fails as a whole and then nothing
has changed; a deployment whose digest did not change keeps its running replicas.
Never: sends a request to a replica (that is the gateway's) or restarts one behind the loop's back.
"""
