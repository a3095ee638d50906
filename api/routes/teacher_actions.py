"""What can be asked of a teacher after it was registered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response
from fastapi.responses import JSONResponse

from api.caller import Submitter
from api.checked import SubmittedJob
from api.openapi import problems
from api.repeatable import Repeatable
from api.requests import IdInUrl
from api.schemas import TeacherView
from api.services import ServicesDep
from api.submitting import CHECKED, SubmissionDep
from api.teacher_requests import CONFIRM_EXAMPLES, EVALUATE_EXAMPLES, Confirmation, Evaluation
from api.visible import visible_teacher
from pgd_core.errors import Conflict, IllegalMove, NotReady
from pgd_core.jobs.declared import confirmed
from pgd_core.jobs.job import CheckState, Teacher
from pgd_core.jobs.spec import DetectorSpec

router = APIRouter(prefix="/v1/teachers", tags=["teachers"], route_class=Repeatable)


@router.post(
    "/{teacher_id}:confirm",
    status_code=202,
    responses={
        200: {"model": TeacherView, "description": "It was confirmed before, as the same."},
        **problems(400, 403, 404, 409, 413),
    },
)
def confirm_teacher(
    teacher_id: IdInUrl,
    said: Annotated[Confirmation, Body(openapi_examples=CONFIRM_EXAMPLES)],
    services: ServicesDep,
    caller: Submitter,
    response: Response,
) -> TeacherView:
    """Say that an upload is what it was recognised as, or name what was not recognised.

    What is said is compared with the tensors as a declaration is, and takes the place of one. The
    weights stay as they were converted. 409 while the upload is being checked, after it was
    rejected, and when it was confirmed as something else.
    """
    teacher = visible_teacher(services, caller, teacher_id)
    if teacher.state is CheckState.UNCONFIRMED:
        model, classes = confirmed(teacher, said.model, said.classes)
        try:
            done = services.library.confirm_teacher(teacher.id, model, classes)
        except IllegalMove:  # another was faster
            teacher = visible_teacher(services, caller, teacher_id)
        else:
            caller.trail.details |= {"name": done.name, "classes": len(classes)}
            return TeacherView.of(done)
    _check_same(teacher, said)
    response.status_code = 200
    return TeacherView.of(teacher)


@router.post(
    "/{teacher_id}:evaluate",
    status_code=202,
    response_model=SubmittedJob,
    responses={**CHECKED, **problems(400, 403, 404, 409, 413)},
)
def evaluate_teacher(
    teacher_id: IdInUrl,
    asked: Annotated[Evaluation, Body(openapi_examples=EVALUATE_EXAMPLES)],
    services: ServicesDep,
    submission: SubmissionDep,
    caller: Submitter,
) -> SubmittedJob | JSONResponse:
    """Queue an `evaluate` job of it, as `POST /v1/jobs` would; of its own team by default."""
    teacher = visible_teacher(services, caller, teacher_id)
    return submission.queue(asked.job(teacher.id), caller, submission.query.team or teacher.team)


def _check_same(teacher: Teacher, said: Confirmation) -> None:
    """NotReady before its check or after a rejection, Conflict where it is ready as another."""
    if teacher.state is CheckState.CHECKING:
        raise NotReady(
            f"teacher {teacher.id} is still being checked; watch GET /v1/teachers/{teacher.id}"
        )
    if teacher.state is CheckState.REJECTED:
        raise NotReady(f"teacher {teacher.id} was rejected: {teacher.message}")
    other = {
        "model": said.model and said.model != DetectorSpec.model_validate(teacher.model),
        "classes": said.classes and said.classes != teacher.classes,
    }
    names = " and ".join(name for name, differs in other.items() if differs)
    if names:
        raise Conflict(
            f"teacher {teacher.id} is ready, with other {names}; register its upload again to "
            "say otherwise"
        )
