"""What a gateway key may do, whom it belongs to, how urgent it is and how often it may call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("key", sa.Column("scopes", sa.Text(), server_default="[]", nullable=False))
    for name in ("tenant", "priority", "quota"):
        op.add_column("key", sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False))
