"""Pushes: `git push` to a remote that Bough serves makes, updates and removes the environment of a branch.

Nouns: push (a branch that moved in the repository of a project, and what became of it).
Promises: a push that is told as live has its URL in the same answer; a branch whose commit did not become live can be
pushed again as it is; of two pushes to one branch the later one decides; what is deployed is the tree of the commit,
through the same operations as `bough deploy`, with the rights of the person who pushes.
Never: runs a hook or anything else that was pushed outside of a unit; follows a link out of the tree.
"""
