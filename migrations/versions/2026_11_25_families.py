"""Families: jobs that are part of a comparison, and who of them waits for whom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "families"
down_revision = "first_tables"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
IN_LINE = "state = 'queued' AND waits_for IS NULL"
INDEXES = {
    "ix_jobs_next": (["state", "available_at", "id"], f"{IN_LINE} AND parent_id IS NULL"),
    "ix_jobs_next_child": (
        ["state", "parent_id", "available_at", "id"],
        f"{IN_LINE} AND parent_id IS NOT NULL",
    ),
    "ix_jobs_parent_id_state_id": (["parent_id", "state", "id"], "parent_id IS NOT NULL"),
    "ix_jobs_waiting": (
        ["owner_id", "state", "parent_id", "id"],
        "state = 'queued' AND parent_id IS NULL",
    ),
}


def upgrade() -> None:
    # SQLite rebuilds the table for the sake of the foreign key's name.
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("parent_id", sa.String(length=40), nullable=True))
        jobs.add_column(sa.Column("waits_for", sa.BigInteger(), nullable=True))
        jobs.add_column(sa.Column("children", JSON, nullable=True))
        jobs.create_foreign_key(op.f("fk_jobs_parent_id"), "jobs", ["parent_id"], ["id"])
    op.drop_index("ix_jobs_state_available_at", "jobs")  # the first two of these do its work
    for name, (columns, where) in INDEXES.items():
        op.create_index(name, "jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    # The release before knows no families: it would start what waits, and wait for nobody.
    op.execute(
        "UPDATE jobs SET state = 'cancelled', finished_at = available_at, version = version + 1, "
        "worker_id = NULL, lease_expires_at = NULL "
        "WHERE state IN ('queued', 'running') AND (parent_id IS NOT NULL OR children IS NOT NULL)"
    )
    for name in INDEXES:
        op.drop_index(name, "jobs")
    op.create_index("ix_jobs_state_available_at", "jobs", ["state", "available_at"])
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_constraint(op.f("fk_jobs_parent_id"), type_="foreignkey")
        jobs.drop_column("children")
        jobs.drop_column("waits_for")
        jobs.drop_column("parent_id")
