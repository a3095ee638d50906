"""Teachers: register a detector from a job that ended, or from an upload; look; delete."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Response

from api.caller import Caller, Submitter, Viewer
from api.openapi import problems
from api.repeatable import Repeatable
from api.requests import IdInUrl, NewTeacher, PageQuery
from api.schemas import Page, TeacherView, page_of
from api.services import Services, ServicesDep
from api.visible import visible_job, visible_teacher, visible_upload
from pgd_core.errors import FieldProblem, InvalidSpec, NotFound
from pgd_core.jobs.graduates import graduate
from pgd_core.jobs.job import Teacher

router = APIRouter(prefix="/v1/teachers", tags=["teachers"], route_class=Repeatable)


@router.post("", status_code=202, responses=problems(400, 403, 409, 413))
def add_teacher(
    asked: NewTeacher, services: ServicesDep, caller: Submitter, response: Response
) -> TeacherView:
    """Register a teacher; from a job it is ready at once, an upload is checked first.

    An upload that was not declared whole is `unconfirmed` after its check: see what it was
    recognised as, and confirm it.
    """
    register = _from_job if asked.source.job else _from_upload
    teacher = register(asked, services, caller)
    response.headers["Location"] = f"/v1/teachers/{teacher.id}"
    return TeacherView.of(teacher)


@router.get("", responses=problems())
def list_teachers(
    query: Annotated[PageQuery, Query()], services: ServicesDep, caller: Viewer
) -> Page[TeacherView]:
    """Teachers, newest first."""
    found = services.library.teachers(
        team=caller.only_team, after=query.after, limit=query.limit + 1
    )
    items = [TeacherView.of(teacher) for teacher in found[: query.limit]]
    return page_of(items, has_more=len(found) > query.limit)


@router.get("/{teacher_id}", responses=problems(404))
def get_teacher(teacher_id: IdInUrl, services: ServicesDep, caller: Viewer) -> TeacherView:
    """A teacher: its detector, its classes, whether it can be used."""
    return TeacherView.of(visible_teacher(services, caller, teacher_id))


@router.delete("/{teacher_id}", status_code=204, responses=problems(403, 404, 409))
def delete_teacher(teacher_id: IdInUrl, services: ServicesDep, caller: Submitter) -> None:
    """Delete a teacher and its weights; 409 `in_use` while a job that has not ended names it.

    Jobs that ended keep their specs and results, and their students can still be registered. A
    teacher that came from a job leaves the job's file to the job; an upload's own file goes when
    its time is over.
    """
    teacher = visible_teacher(services, caller, teacher_id)
    caller.trail.details |= {"name": teacher.name, "state": teacher.state}
    _delete_weights(services.library.delete_teacher(teacher.id), services)


def _from_job(asked: NewTeacher, services: Services, caller: Caller) -> Teacher:
    job_id = asked.source.job
    assert job_id is not None
    try:
        job = visible_job(services, caller, job_id)
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
        team=job.team,
    )


def _from_upload(asked: NewTeacher, services: Services, caller: Caller) -> Teacher:
    upload_id, model, classes = asked.source.upload, asked.model, asked.classes
    assert upload_id is not None
    try:
        upload = visible_upload(services, caller, upload_id)
    except NotFound as error:
        raise _unknown("upload", upload_id) from error
    return services.library.add_teacher(
        asked.name, model, classes or (), upload=upload.id, team=upload.team
    )


def _unknown(source: str, source_id: str) -> InvalidSpec:
    message = f"there is no {source} {source_id}"
    return InvalidSpec(message, (FieldProblem(f"/source/{source}", message),))


def _delete_weights(teacher: Teacher, services: Services) -> None:
    """What its check wrote; where it cannot be deleted now, the sweep will."""
    if not teacher.key.startswith(f"teachers/{teacher.id}/"):
        return
    try:
        services.files.delete(teacher.key)
    except Exception as error:  # whatever the storage raises
        structlog.get_logger().warning("file_not_deleted", key=teacher.key, error=str(error))
