"""Optimizing: a registered model becomes a smaller or cheaper one, which is measured beside it and held to a gate.

Nouns: optimization (one try at a cheaper version), contender (a version as it could be), loss (what it gives up).
Promises: all contenders answer the same rows, in turns, on one core; what may lose more than was allowed, or is neither
smaller nor faster, is never registered; what is registered is signed, and says which version it came from and by how
much it is worse; `kill -9` anywhere leaves one new version or none.
Never: changes what serves; runs a model in the server.
"""
