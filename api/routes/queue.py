"""The queue: what waits and why, what runs, how the teams stand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.caller import Viewer
from api.openapi import problems
from api.queue_views import PoolView, QueueView
from api.requests import QueueQuery
from api.services import ServicesDep

router = APIRouter(prefix="/v1/queue", tags=["queue"])


@router.get("", responses=problems())
def get_queue(
    query: Annotated[QueueQuery, Query()], services: ServicesDep, caller: Viewer
) -> QueueView:
    """Every pool that a worker serves or a job waits in; at most a second old.

    Other teams' jobs keep their place, and their ids and names to themselves.
    """
    pools = services.places.pools()
    if query.pool is not None:
        pools = [name for name in pools if name == query.pool]
    queued_limits = {team.name: team.max_queued_jobs for team in services.teams.teams()}
    return QueueView(
        pools=[
            PoolView.of(
                services.places.of_pool(name), queued_limits, query.after, query.limit, caller.sees
            )
            for name in pools
        ]
    )
