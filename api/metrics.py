"""What Prometheus is told: the service's figures, and how this process answers requests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pgd_core.jobs.figures import Figures, FiguresStore

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
Labels = tuple[str, ...]
Of = TypeVar("Of", bound=Labels)


class Metrics:
    """Of one application."""

    def __init__(self, store: FiguresStore) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Figures(store))
        names = ("method", "route")
        self.requests = Counter(
            "pgd_http_requests", "Requests answered.", (*names, "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "pgd_http_request_duration_seconds",
            "Time until the answer began.",
            names,
            buckets=_BUCKETS,
            registry=self.registry,
        )


class Measure:
    """Times every request of the application, by the template of its route."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                _note(scope, message["status"], time.perf_counter() - begun)
            await send(message)

        await self.app(scope, receive, send_and_note)


def _note(scope: Scope, status: int, took_s: float) -> None:
    metrics: Metrics = scope["app"].state.services.metrics
    method = scope["method"] if scope["method"] in _METHODS else "other"
    # Addresses that are none share a label: strangers shall not fill the memory with theirs.
    route = getattr(scope.get("route"), "path_format", None) or "none"
    metrics.requests.labels(method, route, str(status)).inc()
    metrics.seconds.labels(method, route).observe(took_s)


class _Figures(Collector):
    """Reads the database when it is scraped."""

    def __init__(self, store: FiguresStore) -> None:
        self._store = store

    def describe(self) -> Iterator[Metric]:
        """Told without a look at the database: registering must not need it."""
        return _families(Figures())

    def collect(self) -> Iterator[Metric]:
        return _families(self._store.figures())


def _families(figures: Figures) -> Iterator[Metric]:
    yield _gauge("pgd_jobs", "Jobs.", ("state", "pool", "team"), figures.jobs)
    yield _gauge(
        "pgd_queue_oldest_seconds",
        "How long the oldest queued job has been there.",
        ("pool", "team"),
        figures.oldest_queued_s,
    )
    yield _gauge("pgd_workers", "Workers.", ("pool", "state"), figures.workers)
    for name, text, slots in (
        ("used", "Slots that jobs hold.", figures.slots_used),
        ("free", "Usable slots of active workers that no job holds.", figures.slots_free),
    ):
        yield _gauge(f"pgd_slots_{name}", text, ("pool",), _in_tuples(slots))
    attempts = _in_tuples(figures.attempts)
    yield _gauge("pgd_attempts_ended", "Attempts that ended, by why.", ("reason",), attempts)
    deliveries = _in_tuples(figures.deliveries)
    yield _gauge("pgd_webhook_deliveries", "Messages to webhooks.", ("state",), deliveries)


def _gauge(name: str, text: str, labels: Labels, values: Mapping[Of, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for of, value in sorted(values.items()):
        family.add_metric(of, value)
    return family


def _in_tuples(values: Mapping[str, float]) -> dict[Labels, float]:
    return {(name,): value for name, value in values.items()}
