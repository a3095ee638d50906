"""The table of what is still known of deleted teachers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from pgd_core.store.tables import Base


class FormerTeacherRow(Base):
    """A teacher that was deleted: a student of its is the same detector on another backbone."""

    __tablename__ = "former_teachers"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    team: Mapped[str] = mapped_column(String(64))
    model: Mapped[dict[str, Any]]
    deleted_at: Mapped[datetime]
