"""How `app.py` puts Bough together: a file for each question that one has about it.

`technologies` (which technology is behind each interface), `workings` (the objects of capabilities that live as long
as Bough does, and what operations ask of them), `verbs` (which modules declare operations), `listeners` (who hears of
what), `handlers` (who makes which kind of thing true), `keeping` (what must not be deleted, and what erasures reach).
Never: decides anything, holds state, is imported by a capability.
"""
