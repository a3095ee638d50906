"""The table of uploads on their way."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from pgd_core.store.tables import Base


class UnfinishedUploadRow(Base):
    """See `jobs.unfinished.UnfinishedUpload`; stays for a while after the end."""

    __tablename__ = "unfinished_uploads"
    __table_args__ = (
        Index("ix_unfinished_uploads_team", "team"),
        Index("ix_unfinished_uploads_expires_at", "expires_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    team: Mapped[str] = mapped_column(String(64))
    filename: Mapped[str] = mapped_column(String(255))
    length: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    sha256: Mapped[str] = mapped_column(String(64))
    # Not `metadata`: that is SQLAlchemy's word.
    sent_metadata: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
