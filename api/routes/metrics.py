"""The service's figures for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.caller import Caller, Needs
from api.openapi import problems
from api.services import ServicesDep
from pgd_core.jobs.keys import Role

router = APIRouter(tags=["health"])


class _Scraper(Needs):
    """An operator, or anybody where the settings say that the figures are public."""

    async def __call__(self, request: Request) -> Caller | None:  # type: ignore[override]
        if request.app.state.services.settings.metrics_public:
            return None
        return await super().__call__(request)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **problems()},
)
def get_service_metrics(
    services: ServicesDep,
    _caller: Annotated[Caller | None, Depends(_Scraper(Role.ADMIN, operator=True))],
) -> Response:
    """Jobs, the queue, workers, slots, attempts, deliveries and requests, as Prometheus reads
    them. The setting PGD_METRICS_PUBLIC lets everybody read them."""
    return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)
