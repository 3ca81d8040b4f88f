"""What job runs have occupied of the machine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.add_column("job_run", sa.Column("occupied_s", sa.Float(), server_default="0", nullable=False))
