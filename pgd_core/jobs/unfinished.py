"""Uploads on their way: what is known of a file whose bytes have not all arrived yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from pgd_core.jobs.job import Upload


@dataclass(frozen=True)
class UnfinishedUpload:
    """A file that arrives in pieces; once it is whole it is an `Upload` of the same id."""

    id: str
    team: str
    filename: str
    length: int  # bytes that there shall be
    received: int  # bytes that are on the disk for certain
    sha256: str  # that it shall have; "" where the sender did not say
    metadata: str  # the sender's own, told back as it came
    created_at: datetime
    expires_at: datetime  # put off by every byte that arrives
    finished_at: datetime | None
    expired: bool  # by the database's clock

    @property
    def offset(self) -> int:
        """Where the next byte goes; the last one counts only once the file is registered.

        So whoever is told that all is there may rely on it, also when the process was killed
        between the last byte and the registration: it sends that byte again.
        """
        return self.length if self.finished_at else min(self.received, self.length - 1)


@dataclass(frozen=True)
class UploadQuota:
    """How much a team may have on its way at once."""

    most_bytes: int
    most_uploads: int = 100


class UnfinishedStore(Protocol):
    """Uploads on their way. Every method is one transaction; NotFound for an unknown id."""

    def begin(
        self,
        *,
        team: str,
        filename: str,
        length: int,
        sha256: str,
        metadata: str,
        valid_for: timedelta,
        quota: UploadQuota,
    ) -> UnfinishedUpload:
        """A new one; QuotaExceeded where the team has too much on its way already."""

    def get(self, upload_id: str) -> UnfinishedUpload:
        """Also one that is finished or has expired, until it is forgotten."""

    def received(self, upload_id: str, size: int, valid_for: timedelta) -> UnfinishedUpload:
        """Note that so many bytes are on the disk; Conflict for one that is finished."""

    def finish(self, upload_id: str, *, key: str, size: int, sha256: str) -> Upload:
        """Register the file, once; Conflict the second time."""

    def drop(self, upload_id: str) -> None:
        """Forget it, if it is not finished; Conflict if it is."""

    def expired(self, limit: int = 1000) -> Sequence[str]:
        """Ids of those whose time is over, finished ones among them."""

    def forget_expired(self, upload_id: str) -> bool:
        """Whether it was there, and its time is still over."""

    def known(self, ids: Collection[str]) -> set[str]:
        """Those that are ids of unfinished uploads."""
