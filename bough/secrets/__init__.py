"""Secrets: texts that programs are given and nobody reads back.

Nouns: secret (a named text of an environment; has versions), envelope (a version as it is kept: sealed with AES-256-GCM
under a data key of its own, which is wrapped by the master key), master key (the file `secrets.key`).
Promises: a value stands nowhere but in its envelope and in the processes that were given it: in no file, log, answer,
audit entry or process list of Bough's; an envelope opens only as what it was sealed as: project, environment, name and
version; a branch sees its parent's secrets as they were when it began, unless it has its own or is sealed off.
Never: shows a value, starts a process, or knows who uses a secret (`environments` says so, through `Dependents`).
"""
