"""Bringing in a data set that was sent, before it is checked: into a folder of its own, whole.

The folder lies in the data folder, which all machines share, and is named by the data set's id. It
appears by a rename once everything is in it; only then the database is told. Killed at any moment,
this leaves a folder that the next try deletes, or the sweep.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from pgd_core.datasets.archive_members import ArchiveLimits
from pgd_core.datasets.archives import Unpacked
from pgd_core.datasets.s3_source import fetch
from pgd_core.errors import DatasetUnusable, NotFound
from pgd_core.files.room import lack_of_room
from pgd_core.jobs.datasets import Parts
from pgd_core.jobs.job import Dataset
from pgd_core.jobs.protocols import FileStore, LibraryStore
from worker.confine import Interrupted
from worker.unpacking import UNPACK, unpack_confined

_GONE = "the uploaded file is gone; upload it again and register a new data set"

log = structlog.get_logger()


class NotNow(Exception):
    """Another process brings in a data set, or the disk has no room; a later round may do it."""


class DatasetSources:
    """Unpacks uploads below one folder, one at a time however many processes there are."""

    def __init__(
        self,
        library: LibraryStore,
        files: FileStore,
        folder: Path,  # `DATASETS_FOLDER` of the data folder
        *,
        min_free_bytes: int = 0,
        unpack: Sequence[str] = UNPACK,
    ) -> None:
        self._library, self._files, self._folder = library, files, folder.resolve()
        self._min_free_bytes, self._unpack = min_free_bytes, unpack

    def bring_in(
        self,
        dataset: Dataset,
        scratch: Path,  # of this check
        stopping: Callable[[], bool],
    ) -> Dataset | None:
        """With its parts; None once it is rejected. Raises NotNow; Interrupted on `stopping`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._look_for_room()
            target = self._folder / dataset.id
            shutil.rmtree(target, ignore_errors=True)  # whole, but the database was never told
            found = self._fetched(dataset, target, scratch, stopping)
            if not found.usable:
                self._reject(dataset, found.message)
                return None
            try:
                return self._library.dataset_unpacked(dataset.id, _absolute(found, target))
            except BaseException:  # it was deleted meanwhile
                shutil.rmtree(target, ignore_errors=True)
                raise

    def forget(self, dataset: Dataset) -> None:
        """Delete what was brought in for it."""
        if dataset.upload is not None or dataset.s3:
            shutil.rmtree(self._folder / dataset.id, ignore_errors=True)

    def _fetched(
        self, dataset: Dataset, target: Path, scratch: Path, stopping: Callable[[], bool]
    ) -> Unpacked:
        if dataset.s3:
            return self._from_s3(dataset.s3, target, stopping)
        try:
            archive = self._files.path(self._library.upload(dataset.upload or "").key)
        except NotFound:
            return Unpacked(usable=False, message=_GONE)
        marker = f"check/{dataset.id}"
        command = [*self._unpack, "--room", str(self._room())]
        return unpack_confined(archive, target, scratch, marker, stopping, command=command)

    def _from_s3(self, url: str, target: Path, stopping: Callable[[], bool]) -> Unpacked:
        from pgd_core.files.s3_prefix import S3Prefix  # boto3

        def stop() -> None:
            if stopping():
                raise Interrupted

        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        source = S3Prefix(bucket, prefix)
        limits = ArchiveLimits(room_bytes=self._room())
        try:
            return fetch(source.objects(), source.chunks, target, limits, stop)
        except (DatasetUnusable, FileNotFoundError) as error:
            return Unpacked(usable=False, message=str(error))

    def _reject(self, dataset: Dataset, message: str) -> None:
        error = {"code": "source_refused", "message": message, "pointer": "", "count": 1}
        report: dict[str, Any] = {
            "usable": False,
            "errors": [error | {"examples": []}],
            "warnings": [],
            "classes": [],
            "sha256": "",
        }
        self._library.dataset_checked(
            dataset.id, usable=False, report=report, sha256="", classes=()
        )
        log.info("dataset_refused", message=message)

    def _room(self) -> int:
        """Bytes that may be written."""
        return max(0, shutil.disk_usage(self._folder).free - self._min_free_bytes)

    def _look_for_room(self) -> None:
        if lack := lack_of_room((self._folder,), self._min_free_bytes):
            raise NotNow(lack)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """NotNow where another process is at it; the lock of one that was killed is free."""
        with (self._folder / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise NotNow("another reconciler brings in a data set") from error
            yield


def _absolute(found: Unpacked, folder: Path) -> Parts:
    train_annotations, train_images, val_annotations, val_images = (
        str(folder / part) for part in found.parts()
    )
    return train_annotations, train_images, val_annotations, val_images
