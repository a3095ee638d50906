"""Webhooks: addresses that are told what happens to a team's jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from api.caller import Admin
from api.openapi import problems
from api.requests import IdInUrl
from api.schemas import Page, page_of
from api.services import ServicesDep
from api.teams import check_team
from api.visible import visible_webhook
from api.webhook_views import (
    WEBHOOK_EXAMPLES,
    DeliveriesQuery,
    DeliveryView,
    MadeWebhook,
    NewWebhook,
    WebhooksQuery,
    WebhookView,
)
from pgd_core.errors import FieldProblem, InvalidSpec
from pgd_core.jobs.webhooks import fault_of_url

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post("", status_code=201, responses=problems(400, 403, 409, 413))
def add_webhook(
    asked: Annotated[NewWebhook, Body(openapi_examples=WEBHOOK_EXAMPLES)],
    services: ServicesDep,
    caller: Admin,
    response: Response,
) -> MadeWebhook:
    """Be told of events of the team's jobs. The secret is in this answer and nowhere else, ever."""
    settings = services.settings
    fault = fault_of_url(asked.url, http=settings.webhook_http, networks=settings.webhook_networks)
    if fault is not None:
        message = f"nothing can be sent to {asked.url!r}: {fault}"
        raise InvalidSpec(message, (FieldProblem("/url", message),))
    team = caller.team_of(asked.team)
    check_team(services.teams, team, "body")
    webhook, secret = services.webhooks.add(team, asked.url, asked.kinds, by=caller.name)
    caller.trail.details |= {"url": webhook.url, "team": team}
    response.headers["Location"] = f"/v1/webhooks/{webhook.id}"
    response.headers["Cache-Control"] = "no-store"
    return MadeWebhook(**WebhookView.of(webhook).model_dump(), secret=secret)


@router.get("", responses=problems(403))
def list_webhooks(
    query: Annotated[WebhooksQuery, Query()], services: ServicesDep, caller: Admin
) -> Page[WebhookView]:
    """Webhooks, newest first."""
    team = caller.lists_of(query.team)
    found = services.webhooks.webhooks(team=team, after=query.after, limit=query.limit + 1)
    items = [WebhookView.of(webhook) for webhook in found[: query.limit]]
    return page_of(items, has_more=len(found) > query.limit)


@router.get("/{webhook_id}/deliveries", responses=problems(403, 404))
def list_webhook_deliveries(
    webhook_id: IdInUrl,
    query: Annotated[DeliveriesQuery, Query()],
    services: ServicesDep,
    caller: Admin,
) -> Page[DeliveryView]:
    """What was and will be sent, newest first; what ended is kept for 30 days."""
    webhook = visible_webhook(services, caller, webhook_id)
    found = services.webhooks.deliveries(
        webhook.id, state=query.state, after=query.after, limit=query.limit + 1
    )
    items = [DeliveryView.of(delivery) for delivery in found[: query.limit]]
    return page_of(items, has_more=len(found) > query.limit)


@router.post("/{webhook_id}:test", status_code=202, responses=problems(403, 404))
def test_webhook(webhook_id: IdInUrl, services: ServicesDep, caller: Admin) -> DeliveryView:
    """Send a test message; its delivery tells whether it arrived."""
    webhook = visible_webhook(services, caller, webhook_id)
    return DeliveryView.of(services.webhooks.test(webhook.id))


@router.get("/{webhook_id}", responses=problems(403, 404))
def get_webhook(webhook_id: IdInUrl, services: ServicesDep, caller: Admin) -> WebhookView:
    """A webhook: where it leads and what it is told of."""
    return WebhookView.of(visible_webhook(services, caller, webhook_id))


@router.delete("/{webhook_id}", responses=problems(403, 404))
def delete_webhook(webhook_id: IdInUrl, services: ServicesDep, caller: Admin) -> WebhookView:
    """Delete a webhook and the record of its deliveries; what waits is not sent."""
    webhook = visible_webhook(services, caller, webhook_id)
    caller.trail.details |= {"url": webhook.url}
    return WebhookView.of(services.webhooks.delete(webhook.id))
