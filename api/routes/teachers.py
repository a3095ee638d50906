"""Teachers: register a detector from a job that ended, or from an upload."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.openapi import problems
from api.requests import IdInUrl, NewTeacher, PageQuery
from api.schemas import Page, TeacherView
from api.services import Services, ServicesDep
from pgd_core.errors import FieldProblem, InvalidSpec, NotFound
from pgd_core.jobs.graduates import graduate
from pgd_core.jobs.job import Teacher

router = APIRouter(prefix="/v1/teachers", tags=["teachers"])


@router.post("", status_code=202, responses=problems(400, 403, 409, 413))
def add_teacher(asked: NewTeacher, services: ServicesDep, response: Response) -> TeacherView:
    """Register a teacher; from a job it is ready at once, an upload is checked first."""
    teacher = _from_job(asked, services) if asked.source.job else _from_upload(asked, services)
    response.headers["Location"] = f"/v1/teachers/{teacher.id}"
    return TeacherView.of(teacher)


@router.get("", responses=problems())
def list_teachers(query: Annotated[PageQuery, Query()], services: ServicesDep) -> Page[TeacherView]:
    """Teachers, newest first."""
    found = services.library.teachers(after=query.after, limit=query.limit + 1)
    items = [TeacherView.of(teacher) for teacher in found[: query.limit]]
    has_more = len(found) > query.limit
    return Page(items=items, has_more=has_more, next_after=items[-1].id if has_more else None)


@router.get("/{teacher_id}", responses=problems(404))
def get_teacher(teacher_id: IdInUrl, services: ServicesDep) -> TeacherView:
    """A teacher: its detector, its classes, whether it can be used."""
    return TeacherView.of(services.library.teacher(teacher_id))


def _from_job(asked: NewTeacher, services: Services) -> Teacher:
    job_id = asked.source.job
    assert job_id is not None
    try:
        job = services.jobs.get(job_id)
    except NotFound as error:
        raise _unknown("job", job_id) from error
    made = graduate(job, services.jobs, services.library)
    return services.library.add_teacher(
        asked.name,
        made.model,
        made.classes,
        source_job=job.id,
        key=made.weights.key,
        sha256=made.weights.sha256,
    )


def _from_upload(asked: NewTeacher, services: Services) -> Teacher:
    upload_id, model, classes = asked.source.upload, asked.model, asked.classes
    assert upload_id is not None
    assert model is not None
    assert classes is not None
    try:
        upload = services.library.upload(upload_id)
    except NotFound as error:
        raise _unknown("upload", upload_id) from error
    return services.library.add_teacher(asked.name, model, classes, upload=upload.id)


def _unknown(source: str, source_id: str) -> InvalidSpec:
    message = f"there is no {source} {source_id}"
    return InvalidSpec(message, (FieldProblem(f"/source/{source}", message),))
