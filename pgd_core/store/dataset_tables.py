"""The tables of data sets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from pgd_core.jobs.teams import DEFAULT_TEAM
from pgd_core.store.tables import Base


class DatasetRow(Base):
    """A registered data set; see `jobs.job.Dataset`."""

    __tablename__ = "datasets"
    __table_args__ = (
        Index("ix_datasets_state", "state"),
        Index("ix_datasets_version", "team", "name", "version", unique=True),
        Index("ix_datasets_sha256", "sha256"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[int] = mapped_column(server_default="1")
    state: Mapped[str] = mapped_column(String(32))
    upload: Mapped[str | None] = mapped_column(String(36))  # which may have been deleted since
    s3: Mapped[str] = mapped_column(Text, server_default="", default="")
    train_annotations: Mapped[str] = mapped_column(Text)
    train_images: Mapped[str] = mapped_column(Text)
    val_annotations: Mapped[str] = mapped_column(Text)
    val_images: Mapped[str] = mapped_column(Text)
    classes: Mapped[list[str]] = mapped_column(default=list)
    sha256: Mapped[str] = mapped_column(String(64), default="")
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    created_at: Mapped[datetime]
    team: Mapped[str] = mapped_column(String(64), server_default=DEFAULT_TEAM)


class FormerDatasetRow(Base):
    """A data set that was deleted: what was trained on it still has its classes."""

    __tablename__ = "former_datasets"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[int]
    team: Mapped[str] = mapped_column(String(64))
    classes: Mapped[list[str]]
    sha256: Mapped[str] = mapped_column(String(64))
    deleted_at: Mapped[datetime]


class DatasetVersionRow(Base):
    """The last version that a team's name was given; deleted ones do not come again."""

    __tablename__ = "dataset_versions"

    team: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    last: Mapped[int]
