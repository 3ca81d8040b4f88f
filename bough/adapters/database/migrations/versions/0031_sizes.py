"""Sizes of elastic runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.add_column("job_run", sa.Column("next_size", sa.Integer(), server_default="0", nullable=False))
    op.add_column("job_run", sa.Column("gave_back", sa.Integer(), server_default="0", nullable=False))
