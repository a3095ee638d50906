"""What the API answers about a spec: its estimates and warnings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from api.schemas import JobView, View


class WarningView(View):
    """Something worth knowing before a job runs; nothing is refused for it."""

    code: str = Field(description="Stable; switch on it.", examples=["short_training"])
    pointer: str = Field(
        description="JSON pointer into the spec; empty where `parameter` says it.",
        examples=["/training/epochs"],
    )
    parameter: str = Field("", description="Of the query.", examples=["min_memory_mb"])
    message: str = Field(description="What was found, with its value, and the way out.")


class CheckedSpec(BaseModel):
    """Answer to `validate_only`: nothing was queued. What is refused is answered as a problem."""

    valid: bool = True
    spec: dict[str, Any] = Field(description="The spec with every default filled in.")
    memory_mb: int | None = Field(
        None, description="Estimate for each GPU, MiB; null: not known for this kind or backbone."
    )
    expected_s: float | None = Field(
        None, description="How long it will run, once started; null: nothing like it ran yet."
    )
    expected_because: str = Field("", description="What `expected_s` was taken from, in words.")
    starts_at: datetime | None = Field(
        None, description="Estimated, were it queued now; null: it cannot be said."
    )
    waits_message: str = Field("", description="Why it would wait, in words.")
    expected_end: datetime | None = Field(None, description="`starts_at` and `expected_s` later.")
    warnings: list[WarningView] = []


class SubmittedJob(JobView):
    """A job that was just queued, with what is worth knowing about its spec."""

    warnings: list[WarningView] = Field(
        [],
        description="As `validate_only` answers them; only here, not kept with the job. None once "
        "what the job names was deleted.",
    )
