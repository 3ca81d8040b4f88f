"""Costs by tag: the tags of a workload are part of what its usage is kept under."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"

_KEPT = "project, day, environment, cost_center, kind, workload, seconds, cpu_s, gpu_s, cost"


def upgrade() -> None:
    op.rename_table("cost_usage", "cost_usage_before")
    op.create_table(
        "cost_usage",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("cost_center", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("cpu_s", sa.Float(), nullable=False),
        sa.Column("gpu_s", sa.Float(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("project", "day", "environment", "cost_center", "kind", "workload", "tags"),
    )
    op.execute(f"INSERT INTO cost_usage ({_KEPT}, tags) SELECT {_KEPT}, '{{}}' FROM cost_usage_before")  # noqa: S608 - names of ours
    op.drop_table("cost_usage_before")
    op.create_table(
        "cost_budget_told",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("budget", sa.Float(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "environment"),
    )
