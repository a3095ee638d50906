"""Drives studies: teachers first, then every student as a job of the queue, then the table.

Every step is one guarded transaction and may be done twice: a reconciler that is killed is
followed by one that goes on where it stopped.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from pgd_core.errors import Conflict, InvalidSpec, NotFound, PgdError, QuotaExceeded
from pgd_core.evaluation.study_report import write_report
from pgd_core.jobs.detector import DetectorSpec
from pgd_core.jobs.graduates import graduate
from pgd_core.jobs.job import FINAL_STATES, Artifact, Claim, Job, JobState, Reason
from pgd_core.jobs.protocols import FileStore, JobStore, LibraryStore, StudyStore
from pgd_core.jobs.spec import StudyJob, job_spec_adapter
from pgd_core.jobs.study import Cell, cells, job_of_cell, teachers_to_train
from pgd_core.jobs.study_table import Outcome, study_table
from worker.attempt import publish_folder

log = structlog.get_logger()

TEACHER = "teacher:"  # before a teacher's name: the key of the job that trains it


class StudyDriver:
    """Brings every unfinished study one step further."""

    def __init__(
        self,
        studies: StudyStore,
        jobs: JobStore,
        library: LibraryStore,
        files: FileStore,
        scratch: Path,  # a folder for reports on their way to the file store
    ) -> None:
        self._studies, self._jobs, self._library = studies, jobs, library
        self._files, self._scratch = files, scratch.resolve()

    def advance_all(self) -> None:
        """One step of each; one that breaks does not hold up the others."""
        for study in self._studies.active():
            with structlog.contextvars.bound_contextvars(job=study.id):
                try:
                    self._advance_or_end(study)
                except Conflict as error:  # another reconciler, or a cancel, was faster
                    log.info("study_moved_on", message=error.message)
                except Exception:  # the next round does it again
                    log.exception("study_step_failed")

    def _advance_or_end(self, study: Job) -> None:
        try:
            self._advance(study)
        except Conflict:
            raise
        except InvalidSpec as error:
            self._break(study, Reason.INVALID_SPEC, error.message)
        except (
            ValidationError
        ) as error:  # its own spec, a job's or a teacher's, of an older version
            message = f"this version does not understand the study: {error}"
            self._break(study, Reason.INVALID_SPEC, message)
        except PgdError as error:
            self._break(study, Reason.INTERNAL_ERROR, error.message)

    def _break(self, study: Job, reason: Reason, message: str) -> None:
        log.warning("study_broke", message=message)
        self._studies.end(study.id, reason, message)

    def _advance(self, study: Job) -> None:
        if study.cancel_requested:
            self._cancel(study)
            return
        study = self._studies.begin(study.id)
        spec = job_spec_adapter.validate_python(study.spec)
        assert isinstance(spec, StudyJob), f"job {study.id} is no study"
        children = self._studies.children(study.id)
        plan = cells(spec, self._models(spec))
        try:
            self._adopt_missing(study, spec, plan, children)
        except QuotaExceeded as error:  # jobs are missing: no time to conclude
            told = _progress(children, plan)
            message = f"{told['message']}; the next has to wait: {error.message}"
            self._studies.tell(study.id, told | {"message": message})
            return
        self._conclude(study, spec, plan, children)

    def _adopt_missing(
        self, study: Job, spec: StudyJob, plan: list[Cell], children: dict[str, Job]
    ) -> None:
        """Add to the children what can be asked for by now; QuotaExceeded when the team may not."""
        teachers = self._teachers(study, spec, children)
        for cell in plan:
            teacher_id = teachers[cell.teacher]
            if teacher_id is not None and cell.served and cell.key not in children:
                job = job_of_cell(cell, teacher_id)
                children[cell.key] = self._studies.adopt(study.id, cell.key, job)

    def _teachers(
        self, study: Job, spec: StudyJob, children: dict[str, Job]
    ) -> dict[str, str | None]:
        """Each teacher's id once it is registered, by its name; those to train become children."""
        ids: dict[str, str | None] = {
            name: teacher if isinstance(teacher, str) else None
            for name, teacher in spec.teachers.items()
        }
        for name, training in teachers_to_train(spec).items():
            key = TEACHER + name
            if key not in children:
                children[key] = self._studies.adopt(study.id, key, training)
            if children[key].state is JobState.SUCCEEDED:
                ids[name] = self._registered(name, children[key])
        return ids

    def _registered(self, name: str, job: Job) -> str:
        known = self._library.teacher_of_job(job.id)
        if known is not None:
            return known.id
        made = graduate(job, self._jobs, self._library)
        return self._library.add_teacher(
            name,
            made.model,
            made.classes,
            source_job=job.id,
            key=made.weights.key,
            sha256=made.weights.sha256,
            team=job.team,
            once=True,  # another reconciler may be here as well
        ).id

    def _models(self, spec: StudyJob) -> dict[str, DetectorSpec]:
        return {
            name: DetectorSpec.model_validate(self._library.teacher(teacher).model)
            if isinstance(teacher, str)
            else teacher.model
            for name, teacher in spec.teachers.items()
        }

    def _conclude(
        self, study: Job, spec: StudyJob, plan: list[Cell], children: Mapping[str, Job]
    ) -> None:
        teachers = {name: _of_teacher(name, spec, children) for name in spec.teachers}
        outcomes = {cell.key: _of_cell(cell, children, teachers) for cell in plan}
        if any(child.state not in FINAL_STATES for child in children.values()):
            self._studies.tell(study.id, _progress(children, plan))
            return
        table = study_table(plan, outcomes, teachers)
        if not any(outcome.metrics for outcome in outcomes.values()):
            message = "no student of the study has a result; its jobs say why"
            self._studies.end(study.id, Reason.CHILDREN_FAILED, message, result=table)
            return
        artifacts = self._report(study, table)
        self._studies.end(study.id, Reason.COMPLETED, result=table, artifacts=artifacts)
        log.info("study_finished", jobs=len(children))

    def _report(self, study: Job, table: dict[str, Any]) -> list[Artifact]:
        self._scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="study-", dir=self._scratch))
        try:
            write_report(table, folder, title=study.name or "study")
            claim = Claim(study.id, study.attempt, "")
            return list(publish_folder(folder, claim, self._files))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _cancel(self, study: Job) -> None:
        """Cancel the jobs that nothing else needs; the study ends once they are asked to."""
        for child in self._studies.children_of_no_other(study.id):
            try:
                self._jobs.cancel(child.id)
            except (Conflict, NotFound) as error:  # it has just ended
                log.info("child_not_cancelled", child=child.id, message=error.message)
        self._studies.end(study.id, Reason.CANCELLED_BY_USER, "cancelled with its jobs")


def _of_teacher(name: str, spec: StudyJob, children: Mapping[str, Job]) -> Outcome:
    teacher = spec.teachers[name]
    if isinstance(teacher, str):
        return Outcome(None, "registered", teacher)
    job = children[TEACHER + name]
    metrics = job.result.get("detector", {}).get("metrics")
    return Outcome(job.id, job.state, job.message, metrics)


def _of_cell(cell: Cell, children: Mapping[str, Job], teachers: Mapping[str, Outcome]) -> Outcome:
    if not cell.served:
        return Outcome(None, "not served", f"{cell.method} cannot distil this detector")
    job = children.get(cell.key)
    if job is None:
        return Outcome(None, "no teacher", f"its teacher {teachers[cell.teacher].state}")
    metrics = job.result.get("distilled", {}).get("metrics")
    return Outcome(job.id, job.state, job.message, metrics)


def _progress(children: Mapping[str, Job], plan: list[Cell]) -> dict[str, Any]:
    """Shares of the jobs that are to be, those that wait for a teacher included."""
    teachers = [child for key, child in children.items() if key.startswith(TEACHER)]
    total = len(teachers) + sum(cell.served for cell in plan)
    done = sum(_share(child) for child in children.values()) / max(1, total)
    ended = sum(child.state in FINAL_STATES for child in children.values())
    return {
        "type": "stage",
        "done": round(min(1.0, done), 4),
        "message": f"{ended} of {total} jobs have ended",
        "jobs": {"ended": ended, "total": total},
    }


def _share(child: Job) -> float:
    return 1.0 if child.state in FINAL_STATES else float(child.progress.get("done", 0.0))
