"""Models: what each succeeded train or distill job made, those of before included."""

from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op
from uuid_utils import uuid7

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_WEIGHTS = {"train": "detector.safetensors", "distill": "student.safetensors"}
_VARIANTS = {"train": "detector", "distill": "distilled"}
_COMPLETE_ONNX = "student-nms.onnx"


def upgrade() -> None:
    models = _create_models()
    op.create_table(
        "model_tags",
        sa.Column("model_id", sa.String(36), nullable=False),
        sa.Column("tag", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_model_tags_model_id"),
        sa.PrimaryKeyConstraint("model_id", "tag", name="pk_model_tags"),
    )
    op.create_index("ix_model_tags_tag", "model_tags", ["tag"])
    _register(models)


def downgrade() -> None:
    op.drop_table("model_tags")
    op.drop_table("models")


def _create_models() -> sa.Table:
    models = op.create_table(
        "models",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("dataset_id", sa.String(64), nullable=False),
        sa.Column("detector", sa.JSON(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("lineage", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("cost", sa.JSON(), nullable=False),
        sa.Column("gain", sa.JSON(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("export_job", sa.String(36)),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unregistered_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_models_job_id"),
        sa.ForeignKeyConstraint(["export_job"], ["jobs.id"], name="fk_models_export_job"),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("job_id", name="uq_models_job_id"),
        sa.UniqueConstraint("team", "name", "version", name="uq_models_team_name_version"),
    )
    op.create_index("ix_models_team", "models", ["team", "id"])
    op.create_index("ix_models_dataset_id", "models", ["dataset_id"])
    return models


def _register(models: sa.Table) -> None:
    """One model for each job that succeeded before there were models, oldest first."""
    connection = op.get_bind()
    weights = _artifacts(connection, tuple(_WEIGHTS.values()))
    exported = _exports(connection)
    versions: Counter[tuple[str, str]] = Counter()
    for job in _succeeded(connection, tuple(_WEIGHTS)):
        file = weights.get((job.id, _WEIGHTS[job.kind]))
        if file is None:
            continue
        values = _described(connection, job)
        versions[job.team, values["name"]] += 1
        row = {
            **values,
            "id": str(uuid7()),
            "team": job.team,
            "version": versions[job.team, values["name"]],
            "size": file.size,
            "sha256": file.sha256,
            "export_job": exported.get((job.team, job.id)),
            "notes": "",
            "created_at": job.finished_at,
        }
        connection.execute(models.insert().values(**row))


def _succeeded(connection: sa.Connection, kinds: tuple[str, ...]) -> list[Any]:
    jobs = sa.table(
        "jobs",
        *(sa.column(name) for name in ("id", "kind", "name", "team", "state", "spec_sha256")),
        sa.column("spec", sa.JSON()),
        sa.column("result", sa.JSON()),
        sa.column("finished_at", sa.DateTime(timezone=True)),
    )
    query = sa.select(jobs).where(jobs.c.state == "succeeded", jobs.c.kind.in_(kinds))
    return list(connection.execute(query.order_by(jobs.c.finished_at, jobs.c.id)))


def _artifacts(connection: sa.Connection, names: tuple[str, ...]) -> dict[tuple[str, str], Any]:
    """By job and name; the last attempt's."""
    columns = ("job_id", "attempt", "name", "size", "sha256")
    artifacts = sa.table("artifacts", *(sa.column(name) for name in columns))
    query = sa.select(artifacts).where(artifacts.c.name.in_(names)).order_by(artifacts.c.attempt)
    return {(row.job_id, row.name): row for row in connection.execute(query)}


def _exports(connection: sa.Connection) -> dict[tuple[str, str], str]:
    """By team and job, the newest export of what the job made."""
    files = _artifacts(connection, (_COMPLETE_ONNX,))
    return {
        (job.team, str(job.spec.get("job"))): job.id
        for job in _succeeded(connection, ("export",))
        if (job.id, _COMPLETE_ONNX) in files
    }


def _described(connection: sa.Connection, job: Any) -> dict[str, Any]:
    spec, found = job.spec, _mapping(job.result.get(_VARIANTS[job.kind]))
    dataset = _row(connection, "datasets", spec.get("dataset"), "classes")
    teacher = _row(connection, "teachers", spec.get("teacher"), "model")
    if "model" in spec:
        detector = spec["model"]
    else:
        detector = {**teacher.model, "backbone": spec["student"]} if teacher else {}
    backbone = detector.get("backbone") or spec.get("student") or {}
    head, name = detector.get("detector"), str(backbone.get("name", "")).removeprefix("timm/")
    return {
        "name": job.name.strip() or "-".join(part for part in (head, name) if part),
        "job_id": job.id,
        "kind": job.kind,
        "dataset_id": spec.get("dataset", ""),
        "detector": detector,
        "classes": dataset.classes if dataset else [],
        "metrics": _mapping(found.get("metrics")),
        "cost": _mapping(found.get("cost")),
        "gain": _mapping(job.result.get("gain")),
        "lineage": _lineage(job, dataset, teacher),
    }


def _lineage(job: Any, dataset: Any, teacher: Any) -> dict[str, Any]:
    measured = _mapping(job.result.get("teacher"))
    return {
        "dataset": dataset
        and {
            "id": dataset.id,
            "name": dataset.name,
            "version": dataset.version,
            "sha256": dataset.sha256,
        },
        "teacher": teacher
        and {
            "id": teacher.id,
            "name": teacher.name,
            "sha256": teacher.sha256,
            "source_job": teacher.source_job,
            "metrics": _mapping(measured.get("metrics")),
        },
        "spec_sha256": job.spec_sha256,
        "seed": _mapping(job.spec.get("training")).get("seed"),
        "method": _mapping(job.spec.get("method")).get("name"),
        "versions": {},  # nobody knows any more
    }


def _row(connection: sa.Connection, table: str, row_id: object, of_json: str) -> Any:
    names = ("id", "name", "sha256", "source_job" if table == "teachers" else "version")
    found = sa.table(table, *map(sa.column, names), sa.column(of_json, sa.JSON()))
    query = sa.select(found).where(found.c.id == str(row_id or ""))
    return connection.execute(query).one_or_none()


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}
