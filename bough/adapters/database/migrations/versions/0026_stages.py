"""Stages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.create_table(
        "promotion_stage",
        sa.Column("promotion", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("percent", sa.Float(), nullable=False),
        sa.Column("began_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=False),
        sa.Column("watched_s", sa.Float(), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("champion", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("promotion", "number"),
    )
