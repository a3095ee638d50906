"""The service from Python: `Client("http://127.0.0.1:8080")`. Needs no torch."""

from __future__ import annotations

from api.client.datasets import DatasetCalls
from api.client.jobs import PlacementOptions
from api.client.keys import KeyCalls
from api.client.library import LibraryCalls
from api.client.live import LiveCalls
from api.client.models import ModelCalls
from api.client.queue import QueueCalls
from api.client.teachers import TeacherCalls
from api.client.uploads import UploadCalls
from api.client.webhooks import WebhookCalls
from api.client.wire import ApiError

__all__ = ["ApiError", "Client", "PlacementOptions"]


class Client(
    DatasetCalls,
    UploadCalls,
    LibraryCalls,
    TeacherCalls,
    ModelCalls,
    LiveCalls,
    QueueCalls,
    KeyCalls,
    WebhookCalls,
):
    """One caller of the service; close it, or use it in a `with` block.

    Without `api_key` it finds one as `api.client.credentials` says.
    """
