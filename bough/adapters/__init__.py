"""Sockets for outside technology: each folder's `__init__` is an interface, beside it one file per technology."""
