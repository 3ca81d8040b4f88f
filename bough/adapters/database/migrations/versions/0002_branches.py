"""The catalog of layers, and environments that branch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "change",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_change_layer"), "change", ["layer"], unique=False)
    op.create_table(
        "entry",
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("layer", "kind", "key", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "layer",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("at", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent"],
            ["layer.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_layer_parent"), "layer", ["parent"], unique=False)
    op.create_table(
        "tag",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name"),
    )
    op.create_table(
        "head",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["layer"],
            ["layer.id"],
        ),
        sa.PrimaryKeyConstraint("project", "environment"),
    )
    op.add_column("deployment", sa.Column("secrets", sa.Text(), server_default="{}", nullable=False))
    op.add_column("environment", sa.Column("parent", sa.Text(), server_default="", nullable=False))
    op.add_column("environment", sa.Column("branch", sa.Text(), server_default="", nullable=False))
    op.add_column("environment", sa.Column("created_by", sa.Text(), server_default="", nullable=False))
    op.add_column("environment", sa.Column("ttl_s", sa.Float(), server_default="0", nullable=False))
    op.add_column("environment", sa.Column("expires_at", sa.Float(), server_default="0", nullable=False))
    op.add_column("environment", sa.Column("paused", sa.Boolean(), server_default=sa.text("0"), nullable=False))
    op.add_column("environment", sa.Column("budget", sa.Float(), server_default="0", nullable=False))
