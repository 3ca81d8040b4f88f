"""Databases in pages: SQLite databases that branch without being copied, as programs open them.

Nouns: head (a database that can be opened: which layers it shows, how large it is), frozen layer (pages that nobody
writes any more, shared by all that branched after they were written).
Promises: a head behaves as a SQLite database file does, in every journal mode, for any number of processes; where a C
compiler is, the same format is read and written by a loadable extension, so that any program that uses SQLite can open
it, and by Python without one (apsw). A process that does not know the format is refused by SQLite ("file is not a
database") and damages nothing.
Never: copies, cuts or deletes a layer (`adapters/sql` does).
"""
