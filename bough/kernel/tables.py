"""The kernel's own tables. A capability keeps its tables in its `store.py`, on the same `metadata`."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

# One row for every object that some loop looks after. What the object *is* stands in its capability's table; this row
# only says when it wants attention and who is giving it.
work = sa.Table(
    "work",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    # Seconds since the epoch; null: nothing to do until woken. During a lease: when the lease ends.
    sa.Column("due_at", sa.Float, index=True),
    sa.Column("called_for", sa.Float),  # the soonest time that wakes have asked for during a lease
    sa.Column("wakes", sa.Integer, nullable=False, server_default="0"),  # how often it was called, for people
    sa.Column("generation", sa.Integer, nullable=False, server_default="1"),  # steps are recorded per generation
    sa.Column("token", sa.Text),  # of the lease
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("error", sa.Text),
)

step = sa.Table(
    "step",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False, index=True),
    sa.Column("data", sa.Text, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),  # ok, or the error's code
    sa.Column("milliseconds", sa.Float, nullable=False),
    sa.Column("request_digest", sa.Text, nullable=False),  # the request itself may hold what no log should
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("principal", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("request_digest", sa.Text, nullable=False),
    sa.Column("response", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
