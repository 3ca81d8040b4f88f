"""Which model versions a deployment loads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("deployment", sa.Column("models", sa.Text(), server_default="{}", nullable=False))
