"""What the services need of a store of teachers; `store/` implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pgd_core.jobs.job import Teacher
from pgd_core.jobs.spec import DetectorSpec
from pgd_core.jobs.teams import DEFAULT_TEAM


class TeacherStore(Protocol):
    """Teachers; a part of `jobs.protocols.LibraryStore`."""

    def add_teacher(
        self,
        name: str,
        model: DetectorSpec | None = None,
        classes: Sequence[str] = (),
        *,
        source_job: str | None = None,
        upload: str | None = None,
        key: str = "",
        sha256: str = "",
        team: str = DEFAULT_TEAM,
        once: bool = False,
    ) -> Teacher:
        """Ready at once when `key` is given (a finished job's weights), else checking.

        An upload may be declared in part, or not at all: its check then says what it is. With
        `once`, `teacher_of_job` of its job where there is one, whoever asks at the same time.
        """

    def teacher(self, teacher_id: str) -> Teacher: ...
    def teacher_of_job(self, job_id: str) -> Teacher | None:
        """The first ready teacher that was registered from this job."""

    def teachers(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Teacher]: ...
    def teachers_to_check(self) -> Sequence[Teacher]: ...
    def teacher_checked(
        self,
        teacher_id: str,
        *,
        key: str = "",
        sha256: str = "",
        message: str = "",
        recognised: Mapping[str, Any] | None = None,
    ) -> None:
        """With `key` and `sha256` ready, or unconfirmed where it was not declared whole; rejected
        with `message`."""

    def confirm_teacher(
        self, teacher_id: str, model: DetectorSpec, classes: Sequence[str]
    ) -> Teacher:
        """Unconfirmed → ready, as this model with these classes; else IllegalMove."""

    def delete_teacher(self, teacher_id: str) -> Teacher:
        """Forget it; the teacher as it was, so that its file can go too.

        InUse while a job that has not ended names it. Of the deleted stays what ended jobs need of
        it: `teacher_model` goes on to answer.
        """

    def teacher_model(self, teacher_id: str) -> dict[str, Any]:
        """The teacher's `DetectorSpec`, of a deleted one too."""
