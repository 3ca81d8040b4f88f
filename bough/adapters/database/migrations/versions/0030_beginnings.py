"""Job runs that begin with another one's checkpoints."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.add_column("job_run", sa.Column("start_from", sa.Text(), nullable=False, server_default=sa.text("''")))
