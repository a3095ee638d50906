"""What a store of data sets promises, and where what belongs to one lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pgd_core.jobs.job import Dataset
from pgd_core.jobs.teams import DEFAULT_TEAM

DATASETS_FOLDER = "datasets"  # of the data folder: one folder for each that was sent, by its id
DELETED = ".deleted"  # ends the name of such a folder whose data set is gone
CONTACT_SHEET = "contact_sheet.jpg"

Parts = tuple[str, str, str, str]  # train annotations, train images, val annotations, val images
NO_PARTS: Parts = ("", "", "", "")


def contact_sheet_key(dataset_id: str) -> str:
    """Of a data set's contact sheet in the file store."""
    return f"datasets/{dataset_id}/{CONTACT_SHEET}"


class DatasetStore(Protocol):
    """Data sets. What is registered stays as it is: the same name again is its next version."""

    def add_dataset(
        self,
        name: str,
        train_annotations: str = "",
        train_images: str = "",
        val_annotations: str = "",
        val_images: str = "",
        *,
        upload: str | None = None,
        s3: str = "",
        team: str = DEFAULT_TEAM,
    ) -> Dataset:
        """To be checked; one of an upload or of S3 has no parts yet. NotFound: no such upload."""

    def dataset(self, dataset_id: str) -> Dataset: ...
    def datasets(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Dataset]: ...
    def datasets_to_check(self) -> Sequence[Dataset]: ...
    def dataset_unpacked(self, dataset_id: str, parts: Parts) -> Dataset:
        """Its parts lie there now; IllegalMove once it is checked, or where it has parts."""

    def dataset_told(self, dataset_id: str, progress: dict[str, Any]) -> None:
        """How far its check is; nothing happens once it is done."""

    def dataset_checked(
        self,
        dataset_id: str,
        *,
        usable: bool,
        report: dict[str, Any],
        sha256: str,
        classes: Sequence[str],
    ) -> None: ...
    def delete_dataset(self, dataset_id: str) -> Dataset:
        """What it was; Conflict while a job that has not ended needs it.

        Of the deleted stays what ended jobs need of it: `dataset_classes` goes on to answer.
        """

    def dataset_classes(self, dataset_id: str) -> tuple[str, ...]:
        """In the head's order, of a deleted one too."""
