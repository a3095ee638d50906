"""Requests that may be sent again: what a job was asked for with, kept for a day."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pgd_core.errors import Conflict
from pgd_core.store.tables import JobRow
from pgd_core.store.times import database_now

_a_day_ago = database_now(timedelta(days=-1))


def request_key(caller: str, key: str) -> str:
    """What is stored of an idempotency key: two callers may use the same."""
    return hashlib.sha256(f"{caller}\n{key}".encode()).hexdigest()


def request_sha256(spec_sha256: str, placement: Mapping[str, Any]) -> str:
    """Of all that was asked for; the job itself may be moved later."""
    asked = {"spec": spec_sha256, "placement": dict(placement)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def forget_old(session: Session, key: str) -> None:
    """After a day the key is as good as new."""
    old = update(JobRow).where(JobRow.idempotency_key == key, JobRow.created_at < _a_day_ago)
    session.execute(old.values(idempotency_key=None, request_sha256=None))


def asked_before(session: Session, key: str, sha256: str) -> JobRow | None:
    """The job that was submitted with this key; Conflict when it was asked for otherwise."""
    row = session.scalar(
        select(JobRow).where(JobRow.idempotency_key == key, JobRow.created_at >= _a_day_ago)
    )
    if row is not None and row.request_sha256 != sha256:
        raise Conflict(
            f"this idempotency key was used for job {row.id} with another spec or placement; send "
            "a new key"
        )
    return row
