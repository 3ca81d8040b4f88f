"""Key environments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("key", sa.Column("environments", sa.Text(), server_default="[]", nullable=False))
