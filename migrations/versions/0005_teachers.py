"""What a teacher was recognised as, and what stays known of deleted ones."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("teachers", sa.Column("recognised", sa.JSON()))
    op.create_table(
        "former_teachers",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("model", sa.JSON(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_former_teachers"),
    )


def downgrade() -> None:
    op.drop_table("former_teachers")
    # The older service knows no such state, and the check says anew what its file is.
    op.execute(
        "UPDATE teachers SET state = 'rejected', key = '', message = 'it was never confirmed' "
        "WHERE state = 'unconfirmed'"
    )
    op.drop_column("teachers", "recognised")
