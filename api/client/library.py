"""Data sets and teachers from Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from api.client.wire import Spec, Wire, plain
from api.schemas import DatasetView, Page, TeacherView
from pgd_core.jobs.job import CheckState

Checked = TypeVar("Checked", DatasetView, TeacherView)


class LibraryCalls(Wire):
    """What is asked of data sets and teachers."""

    def add_dataset(self, name: str, folder: str | Path) -> DatasetView:
        """Register a folder of the server with train.json, train/, val.json, val/; or .odgt."""
        return self._post("/v1/datasets", DatasetView, {"name": name, "folder": str(folder)})

    def dataset(self, dataset_id: str) -> DatasetView:
        """A data set with its report."""
        return self._get(f"/v1/datasets/{dataset_id}", DatasetView)

    def datasets(self, *, after: str | None = None, limit: int = 50) -> Page[DatasetView]:
        """Data sets, newest first."""
        return self._get("/v1/datasets", Page[DatasetView], after=after, limit=limit)

    def wait_for_dataset(
        self, dataset_id: str, *, interval_s: float = 0.5, timeout_s: float = 600.0
    ) -> DatasetView:
        """The data set once its check is done; ready or rejected. TimeoutError after a while."""
        return _checked(lambda: self.dataset(dataset_id), interval_s, timeout_s)

    def add_teacher_from_job(self, name: str, job_id: str) -> TeacherView:
        """Register the detector that a train or distill job made."""
        return self._post("/v1/teachers", TeacherView, {"name": name, "source": {"job": job_id}})

    def add_teacher_from_upload(
        self, name: str, upload_id: str, model: Spec, classes: list[str]
    ) -> TeacherView:
        """Register an uploaded checkpoint, declared as a `DetectorSpec` and its classes."""
        source = {"upload": upload_id}
        body = {"name": name, "source": source, "model": plain(model), "classes": classes}
        return self._post("/v1/teachers", TeacherView, body)

    def teacher(self, teacher_id: str) -> TeacherView:
        """A teacher."""
        return self._get(f"/v1/teachers/{teacher_id}", TeacherView)

    def wait_for_teacher(
        self, teacher_id: str, *, interval_s: float = 0.5, timeout_s: float = 600.0
    ) -> TeacherView:
        """The teacher once its check is done; ready or rejected. TimeoutError after a while."""
        return _checked(lambda: self.teacher(teacher_id), interval_s, timeout_s)

    def teachers(self, *, after: str | None = None, limit: int = 50) -> Page[TeacherView]:
        """Teachers, newest first."""
        return self._get("/v1/teachers", Page[TeacherView], after=after, limit=limit)


def _checked(look: Callable[[], Checked], interval_s: float, timeout_s: float) -> Checked:
    deadline = time.monotonic() + timeout_s
    while (thing := look()).state is CheckState.CHECKING:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{thing.name!r} is still unchecked; does the reconciler run?")
        time.sleep(interval_s)
    return thing
