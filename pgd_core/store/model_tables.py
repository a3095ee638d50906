"""The tables of models and of their tags."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pgd_core.store.tables import Base


class ModelRow(Base):
    """A model; see `jobs.models.Model`. One that was unregistered keeps its row, and its version
    is not given again."""

    __tablename__ = "models"
    __table_args__ = (
        UniqueConstraint("team", "name", "version"),
        Index("ix_models_team", "team", "id"),
        Index("ix_models_dataset_id", "dataset_id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    team: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[int]
    job_id: Mapped[str] = mapped_column(String(36), ForeignKey("jobs.id"), unique=True)
    kind: Mapped[str] = mapped_column(String(32))
    dataset_id: Mapped[str] = mapped_column(String(64))
    detector: Mapped[dict[str, Any]]
    classes: Mapped[list[str]]
    lineage: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    cost: Mapped[dict[str, Any]]
    gain: Mapped[dict[str, Any]]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    export_job: Mapped[str | None] = mapped_column(String(36), ForeignKey("jobs.id"))
    notes: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    unregistered_at: Mapped[datetime | None]


class ModelTagRow(Base):
    """A word that somebody gave a model."""

    __tablename__ = "model_tags"
    __table_args__ = (Index("ix_model_tags_tag", "tag"),)

    model_id: Mapped[str] = mapped_column(String(36), ForeignKey("models.id"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(32), primary_key=True)
