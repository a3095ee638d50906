"""Jobs with their history, data sets, teachers and uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_jobs()
    _create_history()
    _create_artifacts()
    _create_datasets()
    _create_uploads()
    _create_teachers()


def downgrade() -> None:
    for table in (
        "teachers",
        "uploads",
        "datasets",
        "artifacts",
        "job_progress",
        "job_events",
        "jobs",
    ):
        op.drop_table(table)


def _time(name: str, nullable: bool = False) -> sa.Column[sa.DateTime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, length: int | None = None, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length) if length else sa.Text(), nullable=nullable)


def _json(name: str) -> sa.Column[sa.JSON]:
    return sa.Column(name, sa.JSON(), nullable=False)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), autoincrement=False, nullable=False)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        _text("id", 36),
        _text("kind", 32),
        _text("name", 200),
        _json("spec"),
        _text("spec_sha256", 64),
        _text("state", 32),
        _text("reason", 32, nullable=True),
        _text("message"),
        _text("pool", 64),
        _whole("priority"),
        _whole("attempt"),
        _whole("failures"),
        _whole("max_attempts"),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        _text("worker", 200, nullable=True),
        _text("lease_token", 64, nullable=True),
        _time("lease_expires_at", nullable=True),
        _time("hinted_at", nullable=True),
        _json("progress"),
        _json("result"),
        _text("idempotency_key", 200, nullable=True),
        _time("created_at"),
        _time("started_at", nullable=True),
        _time("finished_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("idempotency_key", name="uq_jobs_idempotency_key"),
    )
    op.create_index("ix_jobs_queue", "jobs", ["pool", "state", "priority", "id"])
    op.create_index("ix_jobs_lease", "jobs", ["state", "lease_expires_at"])


def _create_history() -> None:
    op.create_table(
        "job_events",
        _text("job_id", 36),
        _whole("sequence"),
        _time("at"),
        _text("kind", 32),
        _json("data"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_events_job_id"),
        sa.PrimaryKeyConstraint("job_id", "sequence", name="pk_job_events"),
    )
    op.create_table(
        "job_progress",
        _text("job_id", 36),
        _whole("sequence"),
        _whole("attempt"),
        _text("type", 32),
        _json("line"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_progress_job_id"),
        sa.PrimaryKeyConstraint("job_id", "sequence", name="pk_job_progress"),
    )
    op.create_index("ix_job_progress_type", "job_progress", ["job_id", "type", "sequence"])


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        _text("job_id", 36),
        _whole("attempt"),
        _text("name", 255),
        sa.Column("size", sa.BigInteger(), nullable=False),
        _text("sha256", 64),
        _text("key", 500),
        _text("media_type", 100),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_artifacts_job_id"),
        sa.PrimaryKeyConstraint("job_id", "attempt", "name", name="pk_artifacts"),
    )


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        _text("id", 36),
        _text("name", 200),
        _text("state", 32),
        _text("train_annotations"),
        _text("train_images"),
        _text("val_annotations"),
        _text("val_images"),
        _json("classes"),
        _text("sha256", 64),
        _json("report"),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
    )
    op.create_index("ix_datasets_state", "datasets", ["state"])


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        _text("id", 36),
        _text("filename", 255),
        sa.Column("size", sa.BigInteger(), nullable=False),
        _text("sha256", 64),
        _text("key", 500),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )


def _create_teachers() -> None:
    op.create_table(
        "teachers",
        _text("id", 36),
        _text("name", 200),
        _text("state", 32),
        _json("model"),
        _json("classes"),
        _text("source_job", 36, nullable=True),
        _text("upload", 36, nullable=True),
        _text("key", 500),
        _text("sha256", 64),
        _text("message"),
        _time("created_at"),
        sa.ForeignKeyConstraint(["source_job"], ["jobs.id"], name="fk_teachers_source_job"),
        sa.ForeignKeyConstraint(["upload"], ["uploads.id"], name="fk_teachers_upload"),
        sa.PrimaryKeyConstraint("id", name="pk_teachers"),
    )
    op.create_index("ix_teachers_state", "teachers", ["state"])
