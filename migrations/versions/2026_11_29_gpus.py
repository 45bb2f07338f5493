"""GPUs: how many a worker has for one job, and how many a job needs at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "gpus"
down_revision = "job_models"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Jobs of the release before needed one at most. Its workers trained with one: they are counted so.
    op.add_column("jobs", sa.Column("gpus", sa.BigInteger(), server_default="1", nullable=False))
    op.add_column("workers", sa.Column("gpus", sa.BigInteger(), server_default="1", nullable=False))


def downgrade() -> None:
    # The release before does not look at the number: its workers would take jobs that they refuse.
    op.execute(
        "UPDATE jobs SET state = 'cancelled', finished_at = available_at, version = version + 1, "
        "worker_id = NULL, lease_expires_at = NULL WHERE state IN ('queued', 'running') AND gpus > 1"
    )
    op.drop_column("workers", "gpus")
    op.drop_column("jobs", "gpus")
