"""Checks of registered data sets and teachers, each in a process that can lose nothing.

A check that was interrupted is done again: what it checks stays `checking` until it has answered.
One whose data set or teacher is deleted meanwhile ends at once, and leaves nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from pgd_core.errors import Conflict, NotFound
from pgd_core.jobs.datasets import DATASETS_FOLDER, contact_sheet_key
from pgd_core.jobs.job import Dataset, Teacher
from pgd_core.jobs.protocols import FileStore, LibraryStore
from pgd_core.jobs.recognised import TeacherAnswer
from worker.check_progress import telling, watching
from worker.confine import CheckLimits, Interrupted, run_confined
from worker.dataset_sources import DatasetSources, NotNow
from worker.turns import Thing, Turns

DATASET_CHECK = (sys.executable, "-m", "pgd_core.datasets", "check")
TEACHER_CHECK = (sys.executable, "-m", "pgd_core.training.teacher_check")

# The data set check limits its own memory and time further, and by file.
DATASET_LIMITS = CheckLimits(wall_s=4 * 3600, cpu_s=4 * 3600)
TEACHER_LIMITS = CheckLimits(wall_s=900, cpu_s=900)

_LONGEST_ANSWER = 2**23  # bytes; of a teacher's check
_NO_ANSWER = "the check's answer cannot be read"

log = structlog.get_logger()


class Checker:
    """Checks what waits in the library, one thing at a time."""

    def __init__(
        self,
        library: LibraryStore,
        files: FileStore,
        scratch: Path,  # a folder for the checks' own folders
        *,
        sources: DatasetSources | None = None,  # default: into `datasets` beside the scratch
        dataset_check: Sequence[str] = DATASET_CHECK,
        teacher_check: Sequence[str] = TEACHER_CHECK,
        dataset_limits: CheckLimits = DATASET_LIMITS,
        teacher_limits: CheckLimits = TEACHER_LIMITS,
    ) -> None:
        self._library, self._files, self._scratch = library, files, scratch.resolve()
        datasets = self._scratch.parent / DATASETS_FOLDER
        self._sources = sources or DatasetSources(library, files, datasets)
        self._dataset_check, self._teacher_check = dataset_check, teacher_check
        self._dataset_limits, self._teacher_limits = dataset_limits, teacher_limits
        self._stop = threading.Event()
        self._turns = Turns()
        self._waiting: set[str] = set()  # ids of those that were told to wait

    def stop(self) -> None:
        """End the running check, and start no other."""
        self._stop.set()

    def check_all(self) -> None:
        """Check until nothing waits, each team in turn, what comes meanwhile too.

        What waits is looked up anew for each. One that cannot be checked now, or whose check
        breaks, holds up no other: it has its next turn once another was checked.
        """
        tried: set[str] = set()
        while not self._stop.is_set():
            thing = self._turns.take(self._waiting_now(), but=tried)
            if thing is None:
                return
            with structlog.contextvars.bound_contextvars(checked=thing.id, name=thing.name):
                if self._came_to_an_end(thing):
                    tried.clear()
                else:
                    tried.add(thing.id)

    def _waiting_now(self) -> list[Thing]:
        return [*self._library.teachers_to_check(), *self._library.datasets_to_check()]

    def _came_to_an_end(self, thing: Thing) -> bool:
        """Whether its check did; every way in which it does not is told."""
        try:
            self._check(thing)
        except Interrupted:
            return False
        except NotNow as error:
            self._wait(thing, str(error))
            return False
        except NotFound:  # deleted meanwhile
            log.info("check_dropped")
            return False
        except Conflict as error:  # another reconciler was faster
            log.warning("check_not_recorded", message=error.message)
            return False
        except Exception:  # a later turn does it again
            log.exception("check_broke")
            return False
        return True

    def _wait(self, thing: Thing, why: str) -> None:
        """Told once: its next turn, in a second, may have to say the same."""
        if thing.id not in self._waiting:
            self._waiting.add(thing.id)
            log.warning("check_waits", message=why)
            self._library.dataset_told(thing.id, {"stage": f"waiting: {why}"})

    def _check(self, thing: Thing) -> None:
        self._scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="check-", dir=self._scratch))
        try:
            if isinstance(thing, Dataset):
                self._bring_in_and_check(thing, folder)
            else:
                self._check_teacher(thing, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _bring_in_and_check(self, dataset: Dataset, folder: Path) -> None:
        try:
            self._bring_in_or_check(dataset, folder)
        except NotFound:  # deleted meanwhile
            self._sources.forget(dataset)
            self._files.delete(contact_sheet_key(dataset.id))
            raise

    def _bring_in_or_check(self, dataset: Dataset, folder: Path) -> None:
        if dataset.train_annotations:
            self._check_dataset(dataset, folder)
            return
        stage = "fetching" if dataset.s3 else "unpacking"
        stopping = telling(self._library, dataset.id, stage, self._stop.is_set)
        if there := self._sources.bring_in(dataset, folder, stopping):
            self._check_dataset(there, folder)

    def _check_dataset(self, dataset: Dataset, folder: Path) -> None:
        out, sheet, done = folder / "report.json", folder / "sheet.jpg", folder / "done.json"
        command = [
            *self._dataset_check,
            dataset.train_annotations,
            dataset.train_images,
            dataset.val_annotations,
            dataset.val_images,
            "--progress",
            str(done),
            "--sheet",
            str(sheet),
            "--report",
            str(out),
        ]
        problem = run_confined(
            command,
            folder,
            f"check/{dataset.id}",
            self._dataset_limits,
            telling(self._library, dataset.id, "checking", self._stop.is_set, done),
            answer=out,
            answer_codes=(0, 1),
        )
        report = _read_json(out)
        if problem or report is None:
            report = _report_of_a_broken_check(problem)
        self._record_dataset(dataset, report | self._put_sheet(dataset, sheet))

    def _record_dataset(self, dataset: Dataset, report: dict[str, Any]) -> None:
        usable = report.get("usable") is True
        self._library.dataset_checked(
            dataset.id,
            usable=usable,
            report=report,
            sha256=str(report.get("sha256") or ""),
            classes=[str(name) for name in report.get("classes") or ()],
        )
        if not usable:
            self._sources.forget(dataset)
        log.info("dataset_checked", usable=usable)

    def _put_sheet(self, dataset: Dataset, sheet: Path) -> dict[str, Any]:
        """What the report says of the contact sheet."""
        if sheet.is_symlink() or not sheet.is_file():
            return {}
        key = contact_sheet_key(dataset.id)
        size, sha256 = self._files.put(key, sheet)
        return {"contact_sheet": {"key": key, "size": size, "sha256": sha256}}

    def _check_teacher(self, teacher: Teacher, folder: Path) -> None:
        try:
            upload = self._files.path(self._library.upload(teacher.upload or "").key)
        except NotFound:
            message = "the uploaded file is gone; upload it again and register a new teacher"
            self._library.teacher_checked(teacher.id, message=message)
            return
        declaration, out = folder / "declaration.json", folder / "out"
        declaration.write_text(
            json.dumps({"model": teacher.model or None, "classes": teacher.classes or None})
        )
        out.mkdir()
        problem = run_confined(
            [*self._teacher_check, str(upload), str(declaration), str(out)],
            folder,
            f"check/{teacher.id}",
            self._teacher_limits,
            watching(lambda: self._library.teacher(teacher.id), self._stop.is_set),
            answer=out / "check.json",
        )
        self._record_teacher(teacher, out, problem)

    def _record_teacher(self, teacher: Teacher, out: Path, problem: str) -> None:
        answer = None if problem else _read_answer(out / "check.json", teacher)
        weights = out / "teacher.safetensors"
        if answer is None:
            self._library.teacher_checked(teacher.id, message=problem or _NO_ANSWER)
            log.info("teacher_checked", usable=False)
            return
        usable = answer.usable and weights.is_file() and not weights.is_symlink()
        found = answer.recognised.model_dump(mode="json") if answer.recognised else None
        if usable:
            key = f"teachers/{teacher.id}/teacher.safetensors"
            _, sha256 = self._files.put(key, weights)
            try:
                self._library.teacher_checked(teacher.id, key=key, sha256=sha256, recognised=found)
            except NotFound:  # deleted while it was checked
                self._files.delete(key)
                raise
        else:
            message = answer.message or "the file is not this teacher"
            self._library.teacher_checked(teacher.id, message=message, recognised=found)
        log.info("teacher_checked", usable=usable)


def _read_answer(path: Path, teacher: Teacher) -> TeacherAnswer | None:
    """None for what is no answer about this teacher: the process that wrote it had a file from
    outside in its hands."""
    try:
        if path.is_symlink() or path.stat().st_size > _LONGEST_ANSWER:
            return None
        answer = TeacherAnswer.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    declared = bool(teacher.model and teacher.classes)
    nothing_to_confirm = answer.recognised is None or not (teacher.model or answer.recognised.model)
    return None if answer.usable and not declared and nothing_to_confirm else answer


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _report_of_a_broken_check(problem: str) -> dict[str, Any]:
    """In the shape of the check's own report."""
    message = problem or _NO_ANSWER
    error = {"code": "check_failed", "message": message, "pointer": "", "count": 1, "examples": []}
    return {"usable": False, "errors": [error], "warnings": [], "classes": [], "sha256": ""}
