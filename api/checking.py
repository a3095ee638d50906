"""The full check of a job: what it will take, when it would start and end, what looks wrong.

It reads what the database knows and needs neither torch nor a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from api.checked import CheckedSpec, WarningView
from api.compatibility import teachers_of
from api.schemas import moment
from api.services import Services
from pgd_core.errors import NotFound
from pgd_core.jobs.advice import Asked, runs_of, training_advice
from pgd_core.jobs.data_advice import data_advice
from pgd_core.jobs.data_facts import DataFacts
from pgd_core.jobs.forecast import Place, Pool, forecast
from pgd_core.jobs.job import Job, JobState
from pgd_core.jobs.machine import Placement
from pgd_core.jobs.memory import (
    Load,
    inference_memory_mb,
    padded_pixels,
    pictures_at_once,
    training_memory_mb,
)
from pgd_core.jobs.pace import expected_s, work_of
from pgd_core.jobs.placement_advice import Surroundings, placement_advice
from pgd_core.jobs.scheduling import Waiting
from pgd_core.jobs.spec import (
    AnalyseJob,
    DetectorSpec,
    EvaluateJob,
    JobSpec,
    StudyJob,
    job_spec_adapter,
)

EARLIER = 50  # jobs that are looked at
_NOT_QUEUED_YET = "~"  # an id that comes after all others


def checked(services: Services, spec: JobSpec, placement: Placement) -> CheckedSpec:
    """What is to be said of a job that `check_job` found possible."""
    asked = _asked(services, spec, placement)
    lasts_s, because = _lasts_s(services, asked)
    answer = CheckedSpec(
        spec=spec.model_dump(mode="json"),
        memory_mb=_memory_mb(asked),
        expected_s=lasts_s,
        expected_because=because,
        warnings=_warnings(services, asked),
    )
    if isinstance(spec, StudyJob):  # waits in no queue: its jobs do
        return answer
    standing = services.places.of_pool(placement.pool)
    place = _place(standing.pool, spec, placement)
    starts_at = moment(standing.at, place.starts_in_s)
    ends_at = None
    if starts_at is not None and lasts_s is not None:
        ends_at = starts_at + timedelta(seconds=lasts_s)
    told = {"starts_at": starts_at, "waits_message": place.message, "expected_end": ends_at}
    return answer.model_copy(update=told)


def warnings_of(services: Services, spec: JobSpec, placement: Placement) -> list[WarningView]:
    """What looks wrong about a job that is possible."""
    return _warnings(services, _asked(services, spec, placement))


def _warnings(services: Services, asked: Asked) -> list[WarningView]:
    around = _surroundings(services, asked.placement)
    found = [
        *training_advice(asked),
        *data_advice(asked),
        *placement_advice(asked, around, _memory_mb(asked)),
    ]
    return [WarningView.of(one) for one in found]


def _asked(services: Services, spec: JobSpec, placement: Placement) -> Asked:
    dataset = services.library.dataset(spec.dataset)
    teachers = [services.library.teacher(teacher_id) for _, teacher_id in teachers_of(spec)]
    return Asked(
        spec,
        placement,
        classes=len(dataset.classes),
        facts=DataFacts.of(dataset.report),
        teachers=tuple(DetectorSpec.model_validate(teacher.model) for teacher in teachers),
    )


def _surroundings(services: Services, placement: Placement) -> Surroundings:
    team = next(team for team in services.teams.teams() if team.name == placement.team)
    use = services.places.of_pool(placement.pool).pool.teams.get(placement.team)
    return Surroundings(
        machines=services.workers.machines(placement.pool),
        team=team,
        team_waiting=services.teams.waiting_jobs(placement.team),
        team_running_gpus=use.running_gpus if use else 0,
    )


def _memory_mb(asked: Asked) -> int | None:
    """Of the largest of its trainings, or of predicting."""
    spec, gpus = asked.spec, asked.placement.needs.gpus
    if isinstance(spec, EvaluateJob | AnalyseJob):
        pictures, pixels = max(1, spec.batch_size // gpus), padded_pixels(spec.input)
        return inference_memory_mb(asked.teachers[0], asked.classes, pictures, pixels)
    found = [
        training_memory_mb(
            Load(
                trained=run.detector,
                classes=asked.classes,
                pictures=pictures_at_once(run.job.training, gpus),
                pixels=padded_pixels(run.job.input),
                training=run.job.training,
                gpus=gpus,
                teacher=run.teacher,
                method=run.method,
            )
        )
        for run in runs_of(asked)
    ]
    known = [memory for memory in found if memory is not None]
    return max(known) if known and len(known) == len(found) else None


def _lasts_s(services: Services, asked: Asked) -> tuple[float | None, str]:
    """(seconds that it will run, what that was taken from)."""
    pool, gpus, kind = asked.placement.pool, asked.placement.needs.gpus, asked.spec.kind
    if isinstance(asked.spec, StudyJob):
        return None, "a study's jobs are estimated one by one, once they are queued"
    work, like = work_of(asked.spec, asked.facts), _alike(asked)
    if work is not None and like is not None:
        earlier = list(_earlier(services, asked, like))
        lasts_s = expected_s(work, earlier, gpus)
        if lasts_s is not None:
            jobs = "job" if len(earlier) == 1 else f"{len(earlier)} jobs"
            named = f"{like[0]} on {like[1]}" if like[1] else like[0]
            return lasts_s, f"the pace of the last {jobs} of kind {kind}, {named}, in pool {pool!r}"
    mean_s = services.places.of_pool(pool).pool.durations.get(kind)
    if mean_s is None:
        return None, f"no job of kind {kind} has ended in pool {pool!r} yet"
    return mean_s, f"how long jobs of kind {kind} took on average lately in pool {pool!r}"


def _alike(asked: Asked) -> tuple[str, str, float] | None:
    """(detector, backbone, width) of what goes through most of the work."""
    runs = runs_of(asked)
    if isinstance(asked.spec, EvaluateJob):
        model = asked.teachers[0]
    elif runs:
        model = runs[0].detector
    else:
        return None
    return model.detector, model.backbone.name, model.backbone.width


def _earlier(
    services: Services, asked: Asked, like: tuple[str, str, float]
) -> Iterator[tuple[float, float]]:
    """(GPU seconds, work) of the team's jobs like it that succeeded in the pool lately."""
    jobs = services.jobs.list(
        kind=asked.spec.kind,
        team=asked.placement.team,
        pool=asked.placement.pool,
        state=JobState.SUCCEEDED,
        limit=EARLIER,
    )
    for job in jobs:
        before = _as_asked(services, job)
        if before is None or _alike(before) != like:
            continue
        work = work_of(before.spec, before.facts)
        if work is not None and job.gpu_s > 0:
            yield job.gpu_s, work


def _as_asked(services: Services, job: Job) -> Asked | None:
    """The job as it was asked for; None where its data set or teacher is gone."""
    try:
        return _asked(services, job_spec_adapter.validate_python(job.spec), job.placement)
    except (NotFound, ValueError):
        return None


def _place(pool: Pool, spec: JobSpec, placement: Placement) -> Place:
    """Where the job would stand, were it queued now."""
    ours = Waiting(
        _NOT_QUEUED_YET, placement.team, placement.priority, placement.needs, spec.kind, spec.name
    )
    before = [job for job in pool.waiting if job.priority >= ours.priority]
    behind = [job for job in pool.waiting if job.priority < ours.priority]
    places = forecast(replace(pool, waiting=[*before, ours, *behind]))
    return next(place for place in places if place.job == _NOT_QUEUED_YET)
