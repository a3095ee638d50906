"""Queueing a job, whichever route it came by."""

from __future__ import annotations

from api.caller import Caller
from api.compatibility import check_job
from api.errors import KeyReused
from api.services import Services
from api.teams import check_team
from pgd_core.errors import Conflict, QuotaExceeded
from pgd_core.jobs.job import Job
from pgd_core.jobs.machine import Placement
from pgd_core.jobs.spec import JobSpec


def check_submit(spec: JobSpec, team: str, services: Services) -> None:
    """Raise what stands against the team's running it."""
    check_team(services.teams, team, "query")
    check_job(spec, services.jobs, services.library, services.settings.weights_folder, team)


def queue_job(
    spec: JobSpec, placement: Placement, services: Services, key: str | None, caller: Caller
) -> Job:
    """Queue a job that was checked; KeyReused where its idempotency key was used for another."""
    try:
        job = services.jobs.submit(
            spec,
            placement,
            max_attempts=services.settings.max_attempts,
            idempotency_key=key,
            caller=caller.key.id,
            by=caller.name,
        )
    except QuotaExceeded:
        raise
    except Conflict as error:
        raise KeyReused(error.message) from error
    caller.trail.details |= {"kind": job.kind, "name": job.name}
    return job
