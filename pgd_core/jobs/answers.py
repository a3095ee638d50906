"""Answers that are kept for a day, so that a request may be sent again without being done twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Answer:
    """What was answered."""

    status: int
    location: str  # "" where there was none
    body: str


@dataclass(frozen=True)
class Known:
    """A request that came before with the same key."""

    request_sha256: str
    answer: Answer | None  # None: it is still being worked on


class AnswerStore(Protocol):
    """Keys are SHA-256 of a caller and the key that the caller chose."""

    def begin(self, key: str, request_sha256: str) -> Known | None:
        """None: it is new, and the caller's to be done and finished or forgotten. One that was
        begun a minute ago and never finished is new as well: its process died."""

    def finish(self, key: str, answer: Answer) -> None: ...
    def forget(self, key: str) -> None:
        """It was refused or failed: the same key may be used again."""
