"""API keys: who may do what, for which team; and the record of who did what."""

from __future__ import annotations

import hashlib
import secrets
import string
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

ALL_TEAMS = "*"  # the team of an operator's key; no team can have this name
_SIGN = "pgd_"  # by which people and secret scanners know a key
_PREFIX_LENGTH = len(_SIGN) + 8  # what a key is found by; it tells nothing of the rest
_SECRET_LENGTH = 48  # characters behind the sign, 285 bits: a plain hash cannot be guessed back
_ALPHABET = string.ascii_letters + string.digits


class Role(StrEnum):
    """What a key may do for its team; each role may do what the one before it may."""

    VIEWER = "viewer"  # look and download
    SUBMITTER = "submitter"  # add data sets and teachers; submit, stop and move jobs
    ADMIN = "admin"  # make and revoke the team's keys, read its audit events

    def includes(self, least: Role) -> bool:
        """Whether it may do what `least` may."""
        return list(Role).index(self) >= list(Role).index(least)


@dataclass(frozen=True)
class Key:
    """An API key as stored; its secret is known to nobody but its holder."""

    id: str  # UUIDv7
    name: str  # what the history of jobs says of its holder
    team: str  # ALL_TEAMS: an operator's
    role: Role
    prefix: str  # the secret's first characters
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None  # to the minute

    @property
    def operator(self) -> bool:
        """Whether it sees and may do everything: teams, workers, everybody's keys."""
        return self.team == ALL_TEAMS and self.role is Role.ADMIN


@dataclass(frozen=True)
class AuditEvent:
    """One line of the record of what was done through the API; never changed, never deleted."""

    id: str  # UUIDv7
    at: datetime
    key_id: str
    key_name: str
    team: str  # whose thing it was; ALL_TEAMS where it was nobody's alone
    action: str  # the operation's name, such as submit_job
    thing: str  # such as jobs/0192…
    details: dict[str, Any] = field(default_factory=dict)


def new_secret() -> str:
    """A key that nobody had before."""
    return _SIGN + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))


def prefix_of(secret: str) -> str:
    """What a key is found by."""
    return secret[:_PREFIX_LENGTH]


def sha256_of(secret: str) -> str:
    """What is stored of a key. It is random and long, so that a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()
