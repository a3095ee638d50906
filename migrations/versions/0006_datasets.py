"""Data sets that were sent: where from, how far their check is, and a version of each name."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NUMBERED = """
UPDATE datasets SET version = (
    SELECT count(*) FROM datasets AS older
    WHERE older.team = datasets.team AND older.name = datasets.name AND older.id <= datasets.id
)
"""
_COUNTED = """
INSERT INTO dataset_versions (team, name, last)
SELECT team, name, max(version) FROM datasets GROUP BY team, name
"""


def upgrade() -> None:
    for column in (
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("upload", sa.String(36)),
        sa.Column("s3", sa.Text(), nullable=False, server_default=""),
        sa.Column("progress", sa.JSON(), nullable=False, server_default="{}"),
    ):
        op.add_column("datasets", column)
    op.create_table(
        "dataset_versions",
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("team", "name", name="pk_dataset_versions"),
    )
    op.execute(_NUMBERED)
    op.execute(_COUNTED)
    op.create_index("ix_datasets_version", "datasets", ["team", "name", "version"], unique=True)
    op.create_index("ix_datasets_sha256", "datasets", ["sha256"])


def downgrade() -> None:
    op.drop_index("ix_datasets_sha256", "datasets")
    op.drop_index("ix_datasets_version", "datasets")
    op.drop_table("dataset_versions")
    for name in ("version", "upload", "s3", "progress"):
        op.drop_column("datasets", name)
