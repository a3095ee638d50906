"""Jobs from Python: submit, look, ask of them, watch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, TypedDict, Unpack

from api.checked import CheckedSpec, SubmittedJob
from api.client.wire import ApiError, Spec, Wire, plain
from api.queue_views import Class
from api.schemas import JobView, MetricLine, Page, Series

PATIENCE_S = 60.0  # that `watch` waits for a service that does not answer


class PlacementOptions(TypedDict, total=False):
    """Where a job waits, for whom, and what it needs; None is as good as left out."""

    team: str | None
    pool: str | None
    priority: Class | None
    gpus: int | None
    min_memory_mb: int | None


class JobCalls(Wire):
    """What is asked of jobs."""

    def validate(self, spec: Spec, **placement: Unpack[PlacementOptions]) -> CheckedSpec:
        """Check a job without queueing it: what it will take, and what looks wrong."""
        return self._post("/v1/jobs", CheckedSpec, plain(spec), validate_only=True, **placement)

    def submit(
        self,
        spec: Spec,
        *,
        idempotency_key: str | None = None,
        **placement: Unpack[PlacementOptions],
    ) -> SubmittedJob:
        """Queue a job; with a key it may be sent again safely. What is left out is the service's
        default."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        query = _given(placement)
        answer = self._send("POST", "/v1/jobs", json=plain(spec), headers=headers, params=query)
        return SubmittedJob.model_validate_json(answer.content)

    def job(self, job_id: str) -> JobView:
        """A job as it stands."""
        return self._get(f"/v1/jobs/{job_id}", JobView)

    def jobs(
        self,
        *,
        after: str | None = None,
        limit: int = 50,
        state: str | None = None,
        kind: str | None = None,
        team: str | None = None,
        pool: str | None = None,
    ) -> Page[JobView]:
        """Jobs, newest first."""
        which = {"state": state, "kind": kind, "team": team, "pool": pool}
        return self._get("/v1/jobs", Page[JobView], after=after, limit=limit, **which)

    def cancel(self, job_id: str) -> JobView:
        """Cancel a job: a waiting one at once, a running one as soon as its worker obeys."""
        return self._post(f"/v1/jobs/{job_id}:cancel", JobView)

    def pause(self, job_id: str) -> JobView:
        """Pause a job: a queued one at once, a running one after a checkpoint."""
        return self._post(f"/v1/jobs/{job_id}:pause", JobView)

    def resume(self, job_id: str) -> JobView:
        """Queue a paused job again, in its old place."""
        return self._post(f"/v1/jobs/{job_id}:resume", JobView)

    def retry(self, job_id: str) -> JobView:
        """Queue a failed or cancelled job again, with all its attempts."""
        return self._post(f"/v1/jobs/{job_id}:retry", JobView)

    def change(self, job_id: str, **placement: Unpack[PlacementOptions]) -> JobView:
        """Move a waiting job, or change the class of a running one; what is left out stays."""
        body = _given(placement)
        return self._ask("PATCH", f"/v1/jobs/{job_id}", JobView, body)

    def watch(self, job_id: str, *, interval_s: float = 1.0) -> Iterator[JobView]:
        """The job each time it changed, until it has ended; short outages are sat out."""
        last: JobView | None = None
        answered = time.monotonic()
        while True:
            try:
                job = self.job(job_id)
            except ApiError as error:
                if 0 < error.status < 500 or time.monotonic() - answered > PATIENCE_S:
                    raise
            else:
                answered = time.monotonic()
                seen = _without_seconds(job)
                if seen != last:
                    yield job
                if job.ended:
                    return
                last = seen
            time.sleep(interval_s)

    def metrics(
        self, job_id: str, *, type: str | None = None, after: int = 0, limit: int = 1000
    ) -> Series[MetricLine]:
        """Lines of progress after a sequence number."""
        path = f"/v1/jobs/{job_id}/metrics"
        return self._get(path, Series[MetricLine], type=type, after=after, limit=limit)

    def logs(self, job_id: str, *, attempt: int | None = None) -> str:
        """The end of the trainer's log."""
        query = {} if attempt is None else {"attempt": attempt}
        return self._send("GET", f"/v1/jobs/{job_id}/logs", params=query).text


def _given(placement: PlacementOptions) -> dict[str, Any]:
    return {name: value for name, value in placement.items() if value is not None}


def _without_seconds(job: JobView) -> JobView:
    """The job for comparing: its estimated start moves a little with every look."""
    if job.starts_at is None:
        return job
    return job.model_copy(update={"starts_at": job.starts_at.replace(second=0, microsecond=0)})
