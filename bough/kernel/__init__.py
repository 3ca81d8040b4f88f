"""Shared ground: errors, names, settings, operations, context, events, reconcile.

Nothing enters it until two capabilities need it. Imports the standard library, msgspec (the one model library) and,
in `tables`, `context`, `events`, `reconcile` and `operations`, SQLAlchemy Core: there it is the language of queries;
the technology behind it is chosen in `adapters/database`.
"""
