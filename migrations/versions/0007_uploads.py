"""Uploads on their way, which arrive in pieces."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "unfinished_uploads",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("sent_metadata", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_unfinished_uploads"),
    )
    op.create_index("ix_unfinished_uploads_team", "unfinished_uploads", ["team"])
    op.create_index("ix_unfinished_uploads_expires_at", "unfinished_uploads", ["expires_at"])


def downgrade() -> None:
    op.drop_table("unfinished_uploads")
