"""API keys, audit events, and whose data sets, teachers and uploads there are."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_OWNED = ("datasets", "teachers", "uploads")


def upgrade() -> None:
    _create_keys()
    _create_audit_events()
    for table in _OWNED:
        team = sa.Column("team", sa.String(64), nullable=False, server_default="default")
        op.add_column(table, team)
    # Idempotency keys of callers without a name stay as they are: nobody asks by them any more.
    op.add_column("jobs", sa.Column("request_sha256", sa.String(64)))
    op.create_index("ix_jobs_team", "jobs", ["team", "id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_team", "jobs")
    op.drop_column("jobs", "request_sha256")
    for table in _OWNED:
        op.drop_column(table, "team")
    op.drop_table("audit_events")
    op.drop_table("keys")


def _create_keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("prefix", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("prefix", name="uq_keys_prefix"),
    )
    op.create_index("ix_keys_team", "keys", ["team", "id"])


def _create_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("key_name", sa.String(200), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("thing", sa.String(500), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    op.create_index("ix_audit_events_team", "audit_events", ["team", "id"])
