"""Pictures of a data set: its contact sheet, and a part of it as a new one.

Included before `datasets`, whose DELETE the test of access comes to last.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from api.caller import Viewer
from api.dataset_requests import SubsetQuery
from api.downloads import content_of, not_modified
from api.openapi import problems
from api.requests import IdInUrl
from api.services import ServicesDep
from api.subsets import send_subset
from api.visible import visible_dataset
from pgd_core.datasets.subset import Subset
from pgd_core.errors import NotReady
from pgd_core.jobs.datasets import CONTACT_SHEET, contact_sheet_key
from pgd_core.jobs.job import Artifact, CheckState, Dataset

router = APIRouter(prefix="/v1/datasets/{dataset_id}", tags=["data sets"])
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.head("/contact-sheet", include_in_schema=False)
@router.get(
    "/contact-sheet",
    response_class=FileResponse,
    responses={
        200: {"content": {"image/jpeg": _BINARY}},
        206: {"description": "The range asked for."},
        304: {"description": "The caller has it already."},
        307: {"description": "A link to the storage that holds the file, valid for ten minutes."},
        **problems(400, 404, 409, 416, 503),
    },
)
def get_contact_sheet(
    dataset_id: IdInUrl, request: Request, services: ServicesDep, caller: Viewer
) -> Response:
    """Up to 24 of its pictures with their boxes and class names, as one JPEG.

    409 until its check has drawn it.
    """
    sheet = _sheet_of(visible_dataset(services, caller, dataset_id))
    if (answer := not_modified(sheet, request)) is not None:
        return answer
    return content_of(sheet, request, services.files)


@router.get(
    "/subset",
    response_class=Response,
    responses={200: {"content": {"application/zip": _BINARY}}, **problems(400, 404, 409, 503)},
)
def get_subset(
    dataset_id: IdInUrl,
    query: Annotated[SubsetQuery, Query()],
    services: ServicesDep,
    caller: Viewer,
) -> Response:
    """A part of a ready data set as a zip in COCO's layout, which can be sent back as a new one.

    Chosen by classes and by number; the same question has the same answer, byte for byte. An
    answer that breaks off is no whole zip.
    """
    dataset = visible_dataset(services, caller, dataset_id)
    if dataset.state is not CheckState.READY:
        raise NotReady(f"data set {dataset.id} is {dataset.state}; only a ready one has subsets")
    wanted = Subset(query.class_names(), query.images, query.val_images, query.seed)
    return send_subset(dataset, wanted)


def _sheet_of(dataset: Dataset) -> Artifact:
    sheet = dataset.report.get("contact_sheet")
    if not isinstance(sheet, dict):
        raise NotReady(f"data set {dataset.id} is {dataset.state} and has no contact sheet")
    key = contact_sheet_key(dataset.id)  # not what a report may say
    return Artifact("", 0, CONTACT_SHEET, sheet["size"], sheet["sha256"], key, "image/jpeg")
