"""Studies: the jobs that each needs, found again by their spec."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_spec_sha256", "jobs", ["spec_sha256"])
    op.create_table(
        "study_children",
        sa.Column("study_id", sa.String(36), nullable=False),
        sa.Column("key", sa.String(100), nullable=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["jobs.id"], name="fk_study_children_study_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_study_children_job_id"),
        sa.PrimaryKeyConstraint("study_id", "key", name="pk_study_children"),
    )
    op.create_index("ix_study_children_job_id", "study_children", ["job_id"])


def downgrade() -> None:
    op.drop_table("study_children")
    op.drop_index("ix_jobs_spec_sha256", "jobs")
