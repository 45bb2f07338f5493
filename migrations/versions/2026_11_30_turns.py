"""Owners take turns: each finds its next job, and when its last one ended, without a look at the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "turns"
down_revision = "gpus"
branch_labels = None
depends_on = None

IN_LINE = "state = 'queued' AND waits_for IS NULL"
ALONE, CHILD = "parent_id IS NULL", "parent_id IS NOT NULL"
NEXT_CHILD = ["state", "parent_id", "available_at", "id"]


def upgrade() -> None:
    op.drop_index("ix_jobs_next", "jobs")
    op.drop_index("ix_jobs_next_child", "jobs")
    _create("ix_jobs_next", ["state", "owner_id", "available_at", "id"], f"waits_for IS NULL AND {ALONE}")
    _create("ix_jobs_next_child", NEXT_CHILD, f"waits_for IS NULL AND {CHILD}")
    had_turn = "started_at IS NOT NULL AND finished_at IS NOT NULL"
    _create("ix_jobs_last_turn", ["owner_id", "finished_at"], had_turn)


def downgrade() -> None:
    for name in ("ix_jobs_last_turn", "ix_jobs_next_child", "ix_jobs_next"):
        op.drop_index(name, "jobs")
    _create("ix_jobs_next", ["state", "available_at", "id"], f"{IN_LINE} AND {ALONE}")
    _create("ix_jobs_next_child", NEXT_CHILD, f"{IN_LINE} AND {CHILD}")


def _create(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
