"""Data sets: register one that was sent or is on the server, see its check, delete it."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Body, Query, Response

from api.caller import Caller, Submitter, Viewer
from api.dataset_requests import NewDataset
from api.examples import DATASET_EXAMPLES
from api.folders import dataset_paths
from api.openapi import problems
from api.repeatable import Repeatable
from api.requests import IdInUrl, PageQuery
from api.schemas import DatasetView, Page, page_of
from api.services import Services, ServicesDep
from api.teams import check_team
from api.visible import visible_dataset, visible_upload
from pgd_core.errors import FieldProblem, InvalidSpec, NotFound
from pgd_core.files.prefixes import allowed_prefix
from pgd_core.jobs.datasets import DATASETS_FOLDER, DELETED, contact_sheet_key
from pgd_core.jobs.job import Dataset

router = APIRouter(prefix="/v1/datasets", tags=["data sets"], route_class=Repeatable)


@router.post("", status_code=202, responses=problems(400, 403, 413))
def add_dataset(
    asked: Annotated[NewDataset, Body(openapi_examples=DATASET_EXAMPLES)],
    services: ServicesDep,
    caller: Submitter,
    response: Response,
) -> DatasetView:
    """Register a COCO or CrowdHuman data set; it is usable once its check is done.

    An archive is unpacked first; one that is refused becomes a rejected data set whose report says
    which member, and why. The same name again is its next version.
    """
    team = caller.team_of(asked.team)
    check_team(services.teams, team, "body")
    dataset = _added(asked, services, caller, team)
    caller.trail.details |= {"name": dataset.name, "version": dataset.version}
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return DatasetView.of(dataset)


def _added(asked: NewDataset, services: Services, caller: Caller, team: str) -> Dataset:
    if asked.source is None:
        paths = dataset_paths(asked, services.settings.dataset_roots)
        return services.library.add_dataset(asked.name, **asdict(paths), team=team)
    if asked.source.s3 is not None:
        bucket, prefix = allowed_prefix(asked.source.s3, services.settings)
        url = f"s3://{bucket}/{prefix}".rstrip("/")
        return services.library.add_dataset(asked.name, s3=url, team=team)
    upload_id = asked.source.upload
    assert upload_id is not None
    try:
        upload = visible_upload(services, caller, upload_id)
    except NotFound as error:
        message = f"there is no upload {upload_id}"
        raise InvalidSpec(message, (FieldProblem("/source/upload", message),)) from error
    team = asked.team or upload.team
    return services.library.add_dataset(asked.name, upload=upload.id, team=team)


@router.get("", responses=problems())
def list_datasets(
    query: Annotated[PageQuery, Query()], services: ServicesDep, caller: Viewer
) -> Page[DatasetView]:
    """Data sets, newest first."""
    found = services.library.datasets(
        team=caller.only_team, after=query.after, limit=query.limit + 1
    )
    items = [DatasetView.of(dataset) for dataset in found[: query.limit]]
    return page_of(items, has_more=len(found) > query.limit)


@router.get("/{dataset_id}", responses=problems(404))
def get_dataset(dataset_id: IdInUrl, services: ServicesDep, caller: Viewer) -> DatasetView:
    """A data set with the report of its check."""
    return DatasetView.of(visible_dataset(services, caller, dataset_id))


@router.delete("/{dataset_id}", status_code=204, responses=problems(404, 409))
def delete_dataset(
    dataset_id: IdInUrl, services: ServicesDep, caller: Submitter, after_answer: BackgroundTasks
) -> Response:
    """Delete a data set, and of one that was sent its pictures too; what is in a folder of the
    server's own stays. 409 while a job or a study that has not ended needs it. What was trained on
    it can still be exported, with another data set of its classes, and registered as a teacher.
    """
    dataset = visible_dataset(services, caller, dataset_id)
    caller.trail.details |= {"name": dataset.name, "version": dataset.version}
    services.library.delete_dataset(dataset.id)
    after_answer.add_task(_delete_files, services, dataset.id, _set_aside(services, dataset.id))
    return Response(status_code=204)


def _set_aside(services: Services, dataset_id: str) -> Path:
    """Where the folder is now; it is to go, whatever becomes of this process."""
    folder = services.settings.data_folder / DATASETS_FOLDER / dataset_id
    aside = folder.with_name(f".{dataset_id}{DELETED}")
    with contextlib.suppress(FileNotFoundError):  # it never had one
        folder.rename(aside)
    return aside


def _delete_files(services: Services, dataset_id: str, folder: Path) -> None:
    """What is left of them if this breaks off, the sweep deletes."""
    shutil.rmtree(folder, ignore_errors=True)
    services.files.delete(contact_sheet_key(dataset_id))
