"""Versioned tables: a catalog entry of kind `table` says which immutable Parquet files a table consists of.

Nouns: field (a column with an id for life: a rename moves no data), data file (a blob, Parquet), delete list (positions
of a data file's rows that are gone, a blob), row id (a number that a row keeps through updates and compaction).
Promises: a version is plain data and is never edited; a small delete or update writes a delete list and the changed
rows, and touches no other file; a key, where a table has one, is unique and never null; two branches merge by key, or
by row id without one, and what both changed differently is a conflict.
Never: decides by who came last; runs a person's SQL with access to anything but tables of the environment.
"""
