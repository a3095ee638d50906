"""Queueing a job: what every route that submits one shares."""

from __future__ import annotations

from typing import Annotated

from fastapi import BackgroundTasks, Depends, Header, Query, Response
from fastapi.responses import JSONResponse

from api.caller import Caller
from api.checked import CheckedSpec, SubmittedJob
from api.checking import checked, warnings_of
from api.compatibility import check_job
from api.errors import KeyReused
from api.job_views import view_of
from api.openapi import Responses
from api.requests import SubmitQuery
from api.services import ServicesDep
from api.teams import check_team
from pgd_core.errors import Conflict, QuotaExceeded
from pgd_core.jobs.job import Job
from pgd_core.jobs.machine import Placement
from pgd_core.jobs.spec import JobSpec

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="For a day the same key and request give the first job again; another request "
        "with it is refused.",
    ),
]
CHECKED: Responses = {200: {"model": CheckedSpec, "description": "validate_only"}}


class Submission:
    """What a request says about a job beside its spec: where it waits, and its idempotency key."""

    def __init__(
        self,
        query: Annotated[SubmitQuery, Query()],
        services: ServicesDep,
        response: Response,
        after_answer: BackgroundTasks,
        idempotency_key: IdempotencyKey = None,
    ) -> None:
        self.query, self._services, self._response = query, services, response
        self._after_answer, self._key = after_answer, idempotency_key

    def queue(
        self,
        spec: JobSpec,
        caller: Caller,
        team: str | None,  # whose job it is, where that is not the caller's own
    ) -> SubmittedJob | JSONResponse:
        """Check the job and queue it; with `validate_only` only check it."""
        services = self._services
        team = caller.team_of(team)
        check_team(services.teams, team, "query")
        placement = self.query.placement(team, services.settings.pool)
        weights = services.settings.weights_folder
        check_job(spec, services.jobs, services.library, weights, placement)
        if self.query.validate_only:
            return JSONResponse(checked(services, spec, placement).model_dump(mode="json"))
        warnings = warnings_of(services, spec, placement)
        job = self._submit(spec, placement, caller)
        caller.trail.details |= {"kind": job.kind, "name": job.name}
        self._response.headers["Location"] = f"/v1/jobs/{job.id}"
        self._after_answer.add_task(services.wake, job.pool)
        shown = view_of(services, job).model_dump()
        return SubmittedJob.model_validate(shown | {"warnings": warnings})

    def _submit(self, spec: JobSpec, placement: Placement, caller: Caller) -> Job:
        try:
            return self._services.jobs.submit(
                spec,
                placement,
                max_attempts=self._services.settings.max_attempts,
                idempotency_key=self._key,
                caller=caller.key.id,
                by=caller.name,
            )
        except QuotaExceeded:
            raise
        except Conflict as error:
            raise KeyReused(error.message) from error


SubmissionDep = Annotated[Submission, Depends()]
