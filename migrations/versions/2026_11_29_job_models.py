"""Models that jobs are given become many: further teachers, and what a student begins with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "job_models"
down_revision = "families"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_models",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("model_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_models_job_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_job_models_model_id")),
        sa.PrimaryKeyConstraint("job_id", "role", name=op.f("pk_job_models")),
    )
    op.execute(
        "INSERT INTO job_models (job_id, role, model_id) "
        "SELECT id, 'teacher', teacher_model_id FROM jobs WHERE teacher_model_id IS NOT NULL"
    )
    op.create_index("ix_job_models_model_id", "job_models", ["model_id"])
    op.drop_index("ix_jobs_teacher_model_id", "jobs")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_constraint(op.f("fk_jobs_teacher_model_id"), type_="foreignkey")
        jobs.drop_column("teacher_model_id")


def downgrade() -> None:
    # The release before knows the first teacher alone: without the others it would train something else.
    op.execute(
        "UPDATE jobs SET state = 'cancelled', finished_at = available_at, version = version + 1, "
        "worker_id = NULL, lease_expires_at = NULL "
        "WHERE state IN ('queued', 'running') "
        "AND id IN (SELECT job_id FROM job_models WHERE role <> 'teacher')"
    )
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("teacher_model_id", sa.String(length=40), nullable=True))
        jobs.create_foreign_key(op.f("fk_jobs_teacher_model_id"), "models", ["teacher_model_id"], ["id"])
    op.execute(
        "UPDATE jobs SET teacher_model_id = (SELECT model_id FROM job_models "
        "WHERE job_models.job_id = jobs.id AND job_models.role = 'teacher')"
    )
    op.create_index("ix_jobs_teacher_model_id", "jobs", ["teacher_model_id"])
    op.drop_table("job_models")
