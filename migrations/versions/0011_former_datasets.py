"""What stays known of deleted data sets.

Of those that were deleted before, the models that were trained on them tell it; one that no model
was trained on is not known any more, and none of its jobs made a detector.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    former = op.create_table(
        "former_datasets",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_former_datasets"),
    )
    rows = _of_models(op.get_bind())
    if rows:
        op.bulk_insert(former, rows)


def downgrade() -> None:
    op.drop_table("former_datasets")


def _of_models(connection: sa.Connection) -> list[dict[str, Any]]:
    """A row for each data set that is gone and that a model says enough of."""
    datasets = sa.table("datasets", sa.column("id"))
    models = sa.table(
        "models",
        sa.column("dataset_id"),
        sa.column("team"),
        sa.column("classes", sa.JSON()),
        sa.column("lineage", sa.JSON()),
    )
    gone = models.c.dataset_id.not_in(sa.select(datasets.c.id))
    found: dict[str, dict[str, Any]] = {}
    for model in connection.execute(sa.select(models).where(gone)):
        of = model.lineage.get("dataset")
        if of and model.classes:
            found[of["id"]] = {
                "id": of["id"],
                "name": of["name"],
                "version": of["version"],
                "team": model.team,
                "classes": model.classes,
                "sha256": of["sha256"],
                "deleted_at": datetime.now(UTC),  # nobody knows any more
            }
    return list(found.values())
