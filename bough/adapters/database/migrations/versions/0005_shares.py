"""Shares of a service's requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "share",
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("percent", sa.Float(), nullable=False),
        sa.Column("copies", sa.Boolean(), nullable=False),
        sa.Column("sticky", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("deployment"),
    )
