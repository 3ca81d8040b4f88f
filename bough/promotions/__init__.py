"""Promotions: how a version of a model becomes the champion of an environment, and what stops it.

Nouns: promotion, approval.
Promises: gates, then approvals, then the signature, then traffic step by step, then the alias, each written in one
transaction together with its entry in the ledger; killed anywhere, it goes on from what is written, also in a newer
Bough. At any moment there is one champion, and it has passed its gates. An approval counts for the digest and the
evidence that it was given for, and for nothing else. A step that shows errors, latency or cost beyond its bounds ends
the promotion, and the present champion never stopped answering. A rollback moves the alias back with the release.
Never: lets two promotions of one model run at once in an environment; waits in code for what is a row.
"""
