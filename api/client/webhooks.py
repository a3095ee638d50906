"""Webhooks from Python."""

from __future__ import annotations

from collections.abc import Sequence

from api.client.wire import Wire
from api.schemas import Page
from api.webhook_views import DeliveryView, MadeWebhook, WebhookView


class WebhookCalls(Wire):
    """What is asked of webhooks."""

    def add_webhook(
        self, url: str, kinds: Sequence[str] = (), *, team: str | None = None
    ) -> MadeWebhook:
        """Be told of events of the team's jobs; the secret is shown this once."""
        body = {"url": url, "kinds": list(kinds), "team": team}
        return self._post("/v1/webhooks", MadeWebhook, body)

    def webhooks(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Page[WebhookView]:
        """Webhooks, newest first."""
        return self._get("/v1/webhooks", Page[WebhookView], team=team, after=after, limit=limit)

    def delete_webhook(self, webhook_id: str) -> WebhookView:
        """Delete a webhook and the record of its deliveries."""
        return self._ask("DELETE", f"/v1/webhooks/{webhook_id}", WebhookView)

    def test_webhook(self, webhook_id: str) -> DeliveryView:
        """Send a test message."""
        return self._post(f"/v1/webhooks/{webhook_id}:test", DeliveryView)

    def deliveries(
        self,
        webhook_id: str,
        *,
        state: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[DeliveryView]:
        """What was and will be sent, newest first."""
        path = f"/v1/webhooks/{webhook_id}/deliveries"
        return self._get(path, Page[DeliveryView], state=state, after=after, limit=limit)
