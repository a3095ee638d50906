"""Queueing a job: what every route that submits one shares."""

from __future__ import annotations

from typing import Annotated

from fastapi import BackgroundTasks, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from api.caller import Caller
from api.checked import CheckedSpec, SubmittedJob, WarningView
from api.checking import checked, warnings_of
from api.compatibility import check_job
from api.errors import KeyReused
from api.job_views import view_of
from api.openapi import Responses
from api.repeatable import KEY_PATTERN, REPLAYED
from api.requests import SubmitQuery
from api.services import ServicesDep
from api.teams import check_team
from pgd_core.errors import Conflict, NotFound, QuotaExceeded
from pgd_core.jobs.job import Job
from pgd_core.jobs.machine import Placement
from pgd_core.jobs.spec import JobSpec

# Where it is heeded, the document says by `repeatable.PARAMETER`.
IdempotencyKey = Annotated[str | None, Header(pattern=KEY_PATTERN, include_in_schema=False)]
CHECKED: Responses = {200: {"model": CheckedSpec, "description": "validate_only"}}


class Submission:
    """What a request says about a job beside its spec: where it waits, and its idempotency key."""

    def __init__(
        self,
        query: Annotated[SubmitQuery, Query()],
        services: ServicesDep,
        request: Request,
        response: Response,
        after_answer: BackgroundTasks,
        idempotency_key: IdempotencyKey = None,
    ) -> None:
        self.query, self._services, self._response = query, services, response
        self._request, self._after_answer, self._key = request, after_answer, idempotency_key

    def queue(
        self,
        spec: JobSpec,
        caller: Caller,
        team: str | None,  # whose job it is, where that is not the caller's own
    ) -> SubmittedJob | JSONResponse:
        """Check the job and queue it; with `validate_only` only check it.

        One that was queued with this key before is answered again, whatever became of what it
        names.
        """
        services = self._services
        team = caller.team_of(team)
        check_team(services.teams, team, "query")
        placement = self.query.placement(team, services.settings.pool)
        if self.query.validate_only:
            self._check(spec, placement)
            return JSONResponse(checked(services, spec, placement).model_dump(mode="json"))
        job = self._submitted_before(spec, placement, caller)
        if job is None:
            self._check(spec, placement)
        warnings = self._warnings(spec, placement)
        job = job or self._submit(spec, placement, caller)
        caller.trail.details |= {"kind": job.kind, "name": job.name}
        self._response.headers["Location"] = f"/v1/jobs/{job.id}"
        self._after_answer.add_task(services.wake, job.pool)
        shown = view_of(services, job).model_dump()
        return SubmittedJob.model_validate(shown | {"warnings": warnings})

    def _submitted_before(self, spec: JobSpec, placement: Placement, caller: Caller) -> Job | None:
        try:
            job = self._services.jobs.submitted_before(
                spec, placement, idempotency_key=self._key, caller=caller.key.id
            )
        except Conflict as error:
            raise KeyReused(error.message) from error
        if job is not None:
            self._request.state.replayed = True  # nothing is changed: no audit event
            self._response.headers[REPLAYED] = "true"
        return job

    def _check(self, spec: JobSpec, placement: Placement) -> None:
        services = self._services
        weights = services.settings.weights_folder
        check_job(spec, services.jobs, services.library, weights, placement)

    def _warnings(self, spec: JobSpec, placement: Placement) -> list[WarningView]:
        try:
            return warnings_of(self._services, spec, placement)
        except NotFound:  # of a job of before; or deleted just now, which `submit` refuses
            return []

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
