"""Data sets from Python."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from api.client.wire import Wire, refusal
from api.schemas import DatasetView, Page
from pgd_core.jobs.job import CheckState

MAKING_S = 1200.0  # that a subset's first bytes may take: a large annotation file is read first
_PIECE_BYTES = 1024 * 1024


class DatasetCalls(Wire):
    """What is asked of data sets."""

    def add_dataset(self, name: str, folder: str | Path, *, team: str | None = None) -> DatasetView:
        """Register a folder of the server with train.json, train/, val.json, val/; or .odgt."""
        return self._add({"name": name, "folder": str(folder), "team": team})

    def add_dataset_from_upload(
        self, name: str, upload_id: str, *, team: str | None = None
    ) -> DatasetView:
        """Register an archive that was sent: `client.upload(path).id`."""
        return self._add({"name": name, "source": {"upload": upload_id}, "team": team})

    def add_dataset_from_s3(self, name: str, url: str, *, team: str | None = None) -> DatasetView:
        """Register what lies below s3://BUCKET/PREFIX, where the server allows it."""
        return self._add({"name": name, "source": {"s3": url}, "team": team})

    def _add(self, body: dict[str, Any]) -> DatasetView:
        given = {key: value for key, value in body.items() if value is not None}
        return self._post("/v1/datasets", DatasetView, given)

    def dataset(self, dataset_id: str) -> DatasetView:
        """A data set with its report."""
        return self._get(f"/v1/datasets/{dataset_id}", DatasetView)

    def datasets(self, *, after: str | None = None, limit: int = 50) -> Page[DatasetView]:
        """Data sets, newest first."""
        return self._get("/v1/datasets", Page[DatasetView], after=after, limit=limit)

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete it; ApiError 409 while a job that has not ended needs it."""
        self._send("DELETE", f"/v1/datasets/{dataset_id}")

    def wait_for_dataset(
        self,
        dataset_id: str,
        *,
        interval_s: float = 0.5,
        timeout_s: float = 600.0,
        seen: Callable[[DatasetView], None] = lambda _: None,
    ) -> DatasetView:
        """The data set once its check is done; ready or rejected. `seen` is given it at each look.

        TimeoutError when its check has got no further for so long.
        """
        deadline, before = time.monotonic() + timeout_s, None
        while (dataset := self.dataset(dataset_id)).state is CheckState.CHECKING:
            seen(dataset)
            if dataset.progress != before:
                deadline, before = time.monotonic() + timeout_s, dataset.progress
            if time.monotonic() > deadline:
                raise TimeoutError(f"{dataset.name!r} is still unchecked; does the reconciler run?")
            time.sleep(interval_s)
        return dataset

    def contact_sheet(self, dataset_id: str, path: Path) -> Path:
        """Some of its pictures with their boxes, as a JPEG; `path`, a file or a folder that is
        there, once it is whole."""
        target = path / f"contact-sheet-{dataset_id}.jpg" if path.is_dir() else path
        return self._whole(f"/v1/datasets/{dataset_id}/contact-sheet", target)

    def subset(
        self,
        dataset_id: str,
        path: Path,
        *,
        classes: Sequence[str] = (),
        images: int | None = None,
        val_images: int | None = None,
        seed: int = 0,
    ) -> Path:
        """A part of it as a zip in COCO's layout; `path`, a file or a folder that is there, once it
        is whole."""
        target = path / f"subset-{dataset_id}.zip" if path.is_dir() else path
        query = {
            **{"images": images, "val_images": val_images, "seed": seed},
            "classes": ",".join(classes) or None,
        }
        params = {key: value for key, value in query.items() if value is not None}
        return self._whole(f"/v1/datasets/{dataset_id}/subset", target, params=params)

    def _whole(self, url: str, target: Path, **rest: Any) -> Path:
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        patient = httpx.Timeout(self._http.timeout.connect, read=MAKING_S)
        try:
            with (
                part.open("wb") as file,
                self._http.stream(
                    "GET", url, timeout=patient, follow_redirects=True, **rest
                ) as got,
            ):
                if got.is_error:
                    got.read()
                    raise refusal(got)
                for piece in got.iter_bytes(_PIECE_BYTES):
                    file.write(piece)
            part.replace(target)
        except httpx.TransportError as error:  # an answer that broke off, too
            raise self._unreachable(error) from error
        finally:
            part.unlink(missing_ok=True)
        return target
