"""Webhooks and what was sent to them: what is taken and what is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, field_validator

from api.requests import NO_CONTROL, PageQuery, PoolOrTeam
from api.schemas import View
from pgd_core.jobs.spec import Strict
from pgd_core.jobs.webhooks import EVENT_KINDS, DeliveryState

WEBHOOK_EXAMPLES = {
    "ends": {
        "summary": "Be told when a job of the team ends",
        "value": {
            "url": "https://hooks.example.com/pgd",
            "kinds": ["succeeded", "failed", "cancelled"],
        },
    }
}


class NewWebhook(Strict):
    """An address to be told."""

    url: str = Field(
        min_length=1,
        max_length=2000,
        pattern=NO_CONTROL,
        description="https://, of a host whose addresses are public.",
    )
    kinds: tuple[str, ...] = Field(
        (),
        max_length=len(EVENT_KINDS),
        description=f"Of events: {', '.join(EVENT_KINDS)}. Default: all.",
    )
    team: PoolOrTeam | None = Field(None, description="Whose. Default: the caller's own.")

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [kind for kind in kinds if kind not in EVENT_KINDS]
        if unknown:
            raise ValueError(f"no event is {unknown[0]!r}; events are {', '.join(EVENT_KINDS)}")
        return tuple(dict.fromkeys(kinds))


class WebhooksQuery(PageQuery):
    """Which webhooks."""

    team: PoolOrTeam | None = Field(None, description="Default: all that the caller may see.")


class DeliveriesQuery(PageQuery):
    """Which deliveries."""

    state: DeliveryState | None = None


class WebhookView(View):
    """A webhook, without its secret."""

    id: str
    team: str
    url: str
    kinds: tuple[str, ...] = Field(description="Of events; none: all.")
    created_by: str
    created_at: datetime


class MadeWebhook(WebhookView):
    """A new webhook; its secret is shown this once."""

    secret: str = Field(
        description="Verify with it what arrives, as Standard Webhooks says.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )


class DeliveryView(View):
    """One message to a webhook, and what became of it."""

    id: str = Field(description="The header `webhook-id` is msg_ and this.")
    webhook_id: str
    kind: str = Field(description="Of the event; 'test'.")
    job_id: str | None
    sequence: int | None = Field(description="Of the job's event.")
    state: Literal["pending", "delivered", "failed"] = Field(description="failed: given up.")
    tries: int
    status: int | None = Field(description="HTTP's, of the last try.")
    error: str = Field(description="Why the last try failed.")
    created_at: datetime
    next_try_at: datetime | None
    ended_at: datetime | None
