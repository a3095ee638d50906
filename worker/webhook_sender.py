"""Sends to webhooks and does nothing else: `python -m worker.webhook_sender`.

For deployments whose reconciler has no way out, since it checks what users send; there
PGD_WEBHOOK_SENDER is false, and this runs beside it.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

import structlog

from pgd_core.settings import Settings
from pgd_core.store import SqlWebhookStore, open_engine
from worker.health import SignOfLife
from worker.logs import configure_logs
from worker.webhooks import Reach, WebhookSender


def main() -> int:
    """Composition root; returns the exit code."""
    configure_logs("webhooks")
    settings = Settings()
    engine = open_engine(settings.resolved_database_url())
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    structlog.get_logger().info("webhooks_start")
    reach = Reach(settings.webhook_http, settings.webhook_networks)
    sign = SignOfLife(settings.data_folder, "webhooks")
    WebhookSender(SqlWebhookStore(engine), reach, alive=sign.give).run(stop)
    engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
