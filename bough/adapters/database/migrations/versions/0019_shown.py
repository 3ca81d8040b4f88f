"""The layers that each layer shows, which every lookup walked up to before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "shown",
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("above", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("layer", "depth"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_shown_above", "shown", ["above"])
    op.execute(
        """
        INSERT INTO shown (layer, depth, above, seq, sealed)
        WITH RECURSIVE chain (start, depth, above, seq, sealed) AS (
            SELECT id, 0, id, 4611686018427387904, '' FROM layer
            UNION ALL
            SELECT start, depth + 1, parent, CASE WHEN at < seq THEN at ELSE seq END, layer.sealed || chain.sealed
            FROM chain JOIN layer ON layer.id = above WHERE parent IS NOT NULL
        )
        SELECT start, depth, above, seq, sealed FROM chain
        """
    )
