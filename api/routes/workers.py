"""Workers: who serves which pool with what, and letting one claim nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query

from api.caller import Caller, Operator, Viewer
from api.openapi import problems
from api.queue_views import WorkerView
from api.repeatable import Repeatable
from api.requests import WorkerInUrl, WorkersQuery
from api.schemas import Page
from api.services import Services, ServicesDep
from pgd_core.jobs.machine import Worker

router = APIRouter(prefix="/v1/workers", tags=["workers"], route_class=Repeatable)


@router.get("", responses=problems())
def list_workers(
    query: Annotated[WorkersQuery, Query()], services: ServicesDep, caller: Viewer
) -> Page[WorkerView]:
    """Workers by pool and name, lost ones among them; with `gone_too` those that stopped."""
    found = services.workers.workers(gone_too=query.gone_too)
    return Page(items=_views(services, found, caller), has_more=False)


@router.get("/{name}", responses=problems(404))
def get_worker(name: WorkerInUrl, services: ServicesDep, caller: Viewer) -> WorkerView:
    """A worker: its devices and which job holds each, versions, trouble, when it was last seen."""
    return _views(services, [services.workers.worker(name)], caller)[0]


@router.post("/{name}:drain", status_code=202, responses=problems(403, 404, 409))
def drain_worker(name: WorkerInUrl, services: ServicesDep, caller: Operator) -> WorkerView:
    """Let the worker finish what it runs and claim nothing more."""
    return _changed(services, services.workers.drain(name), caller)


@router.post("/{name}:undrain", status_code=202, responses=problems(403, 404, 409))
def undrain_worker(
    name: WorkerInUrl, services: ServicesDep, caller: Operator, after_answer: BackgroundTasks
) -> WorkerView:
    """Let the worker claim again."""
    worker = services.workers.undrain(name)
    after_answer.add_task(services.wake, worker.pool)
    return _changed(services, worker, caller)


def _changed(services: Services, worker: Worker, caller: Caller) -> WorkerView:
    services.places.forget(worker.pool)
    return _views(services, [worker], caller)[0]


def _views(services: Services, workers: Sequence[Worker], caller: Caller) -> list[WorkerView]:
    """The workers with the jobs that hold their devices; other teams' without their ids."""
    held: dict[str, dict[int, str | None]] = {}
    for pool in {worker.pool for worker in workers}:
        for machine in services.places.of_pool(pool).pool.machines:
            held[machine.name] = {
                slot: job.id if caller.sees(job.team) else None
                for job in machine.running
                for slot in job.slots
            }
    return [WorkerView.of(worker, held.get(worker.name, {})) for worker in workers]
