"""Jobs can be deleted: which ones repeat a job is asked then, and looked up instead of searched for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "deleted_jobs"
down_revision = "turns"
branch_labels = None
depends_on = None

IS_RETRY = sa.text("retry_of IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_jobs_retry_of", "jobs", ["retry_of"], sqlite_where=IS_RETRY, postgresql_where=IS_RETRY
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_retry_of", "jobs")
