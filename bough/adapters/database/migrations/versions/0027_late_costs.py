"""What a late request weighed in a decision, and how services learn it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.add_column("scaling_decision", sa.Column("late_cost", sa.Float(), server_default="0", nullable=False))
    op.create_table(
        "scaling_lateness",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("learnt", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "environment", "service"),
    )
