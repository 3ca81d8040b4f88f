"""Databases that every environment has of its own, and that branch with it: SQL, and keys of Redis.

Nouns: database (one of a project under a name; each environment has its own), snapshot (a database as it was
at one moment), migration (SQL that a database has run), mask (how a column is made unreadable), cut (the moment at
which a branch and its parent part).
Promises: a branch's databases are cut at the same moment as its files and tables; how, how long and how many bytes is
said before; nobody's rows are merged: a branch's migrations are tried on a fresh branch of the parent, then run there;
a masked branch never holds a masked column in clear; what a reset or a restore replaces stays as a snapshot.
Never: opens a database itself (`adapters/sql` does), or changes a row outside of migrations and masks.
"""
