"""Job runs, schedules, what a token is for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_TEXTS = (
    *("id", "project", "environment", "job", "by", "state", "said", "manifest", "params", "register", "group"),
    *("needs", "devices", "stopping_for", "ends_as", "spent", "build", "lease", "run", "token", "failure"),
)
_NUMBERS = ("release", "index", "children", "attempt", "size", "wanted_size", "port", "seen")
_TIMES = ("slot", "created_at", "changed_at", "started_at", "finished_at", "not_before", "attempt_at", "stop_by",
          "price_per_h", "seconds", "cost")  # fmt: skip


def upgrade() -> None:
    op.add_column("token", sa.Column("scope", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.create_table(
        "job_run",
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _NUMBERS),
        *(sa.Column(name, sa.Float(), nullable=False) for name in _TIMES),
        sa.Column("changes", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_job_run_group"), "job_run", ["group"])
    op.create_index(op.f("ix_job_run_finished_at"), "job_run", ["finished_at"])
    op.create_index("ix_job_run_place", "job_run", ["project", "environment", "job", "id"])
    op.create_table(
        "job_schedule",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("catch_up", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project", "environment", "job"),
    )
