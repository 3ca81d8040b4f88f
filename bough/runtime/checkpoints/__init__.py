"""Checkpoints of a program that trains: saved while it goes on, complete or not there, found again after any end.

Nouns: checkpoint (what a program needs to go on from a step), chunk (bytes of checkpoints, a file under its digest),
shard (what one process of several contributes to a checkpoint), notice (word that the process will be ended soon).
Promises: only a checkpoint whose every shard is on the disk can be loaded; what is loaded was checked byte by byte;
equal bytes are written once; a full disk costs checkpoints, never the training or the last good one.
"""
