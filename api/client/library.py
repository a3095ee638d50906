"""Teachers from Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from api.client.teachers import declaration
from api.client.wire import Spec, Wire
from api.schemas import Page, TeacherView
from pgd_core.jobs.job import CheckState


class LibraryCalls(Wire):
    """What is asked of teachers."""

    def add_teacher_from_job(self, name: str, job_id: str) -> TeacherView:
        """Register the detector that a train or distill job made."""
        return self._post("/v1/teachers", TeacherView, {"name": name, "source": {"job": job_id}})

    def add_teacher_from_upload(
        self,
        name: str,
        upload_id: str,
        model: Spec | None = None,
        classes: Sequence[str] | None = None,
    ) -> TeacherView:
        """Register an uploaded checkpoint, declared as a `DetectorSpec` and its classes; what is
        left out is recognised, and then to be confirmed."""
        body = {"name": name, "source": {"upload": upload_id}, **declaration(model, classes)}
        return self._post("/v1/teachers", TeacherView, body)

    def teacher(self, teacher_id: str) -> TeacherView:
        """A teacher."""
        return self._get(f"/v1/teachers/{teacher_id}", TeacherView)

    def wait_for_teacher(
        self, teacher_id: str, *, interval_s: float = 0.5, timeout_s: float = 600.0
    ) -> TeacherView:
        """The teacher once its check is done: ready, unconfirmed or rejected. TimeoutError after a
        while."""
        return _checked(lambda: self.teacher(teacher_id), interval_s, timeout_s)

    def teachers(self, *, after: str | None = None, limit: int = 50) -> Page[TeacherView]:
        """Teachers, newest first."""
        return self._get("/v1/teachers", Page[TeacherView], after=after, limit=limit)


def _checked(look: Callable[[], TeacherView], interval_s: float, timeout_s: float) -> TeacherView:
    deadline = time.monotonic() + timeout_s
    while (thing := look()).state is CheckState.CHECKING:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{thing.name!r} is still unchecked; does the reconciler run?")
        time.sleep(interval_s)
    return thing
