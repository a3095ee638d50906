"""The shared queue: teams, workers, what a job needs, who did what."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NOW = sa.text("CURRENT_TIMESTAMP")


def upgrade() -> None:
    _create_teams()
    _create_workers()
    _widen_jobs()
    op.add_column("job_events", sa.Column("by", sa.String(200), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("job_events", "by")
    op.drop_index("ix_jobs_finished", "jobs")
    op.drop_index("ix_jobs_queue", "jobs")
    op.add_column(
        "jobs",
        sa.Column("cancel_requested", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.execute(
        "UPDATE jobs SET cancel_requested = (stop_requested = 'cancel') "
        "WHERE stop_requested IS NOT NULL"
    )
    for name in (
        "team",
        "gpus",
        "min_memory_mb",
        "stop_requested",
        "slots",
        "gpu_s",
        "claimed_at",
    ):
        op.drop_column("jobs", name)
    op.create_index("ix_jobs_queue", "jobs", ["pool", "state", "priority", "id"])
    op.drop_table("workers")
    op.drop_table("teams")


def _create_teams() -> None:
    teams = op.create_table(
        "teams",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("max_running_gpus", sa.Integer()),
        sa.Column("max_queued_jobs", sa.Integer()),
        sa.Column("used_gpu_s", sa.Double(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_teams"),
    )
    default = teams.insert().values(
        name="default", weight=1.0, used_gpu_s=0.0, used_at=_NOW, created_at=_NOW
    )
    op.execute(default)


def _create_workers() -> None:
    op.create_table(
        "workers",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pool", sa.String(64), nullable=False),
        sa.Column("devices", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.Column("unusable", sa.JSON(), nullable=False),
        sa.Column("drain", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )
    op.create_index("ix_workers_pool", "workers", ["pool", "state"])


def _widen_jobs() -> None:
    for column in (
        sa.Column("team", sa.String(64), nullable=False, server_default="default"),
        sa.Column("gpus", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("min_memory_mb", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("stop_requested", sa.String(32)),
        sa.Column("slots", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("gpu_s", sa.Double(), nullable=False, server_default="0"),
        sa.Column("claimed_at", sa.DateTime(timezone=True)),
    ):
        op.add_column("jobs", column)
    op.execute("UPDATE jobs SET stop_requested = 'cancel' WHERE cancel_requested")
    op.execute("UPDATE jobs SET claimed_at = started_at WHERE state IN ('starting', 'running')")
    op.execute(
        "UPDATE jobs SET priority = CASE WHEN priority > 0 THEN 1 WHEN priority < 0 "
        "THEN -1 ELSE 0 END"
    )
    op.drop_column("jobs", "cancel_requested")
    op.drop_index("ix_jobs_queue", "jobs")
    order = ["pool", "state", "team", sa.text("priority DESC"), "id"]
    op.create_index("ix_jobs_queue", "jobs", [*order, "gpus", "min_memory_mb", "kind"])
    op.create_index("ix_jobs_finished", "jobs", ["pool", "state", "finished_at"])
