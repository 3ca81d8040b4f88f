"""The ledger: who changed what is in use, when, why, and on which evidence; written once and never changed.

Nouns: ledger, ledger entry, ledger head, proof.
Promises: an entry is written in the transaction that made it true, or that transaction did not happen. Each entry holds
the hash of the one before, all of them are the leaves of a Merkle tree (RFC 6962), and the tree's head is signed
(Ed25519) in the format of C2SP checkpoints: what is edited, removed, reordered or cut off later is found and named.
It listens to events; who emits them does not know it.
Never: updates or deletes an entry; holds a secret, or what models are asked.
"""
