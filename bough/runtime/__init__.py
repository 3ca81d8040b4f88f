"""What runs inside a user's process: the batch loop, model loading, the shim.

Nouns: replica (a process that answers predictions), zygote (a process that has imported and loaded, and forks
replicas), frame (many requests or answers in one message), shim (a unit's guardian).
Promises: imports only the standard library and msgspec, and nothing else of Bough, so that the folder can be laid
beside any Python >= 3.9 environment. The wire formats (`frames`, `spec`) are the only modules that the server side
imports from here.
"""
