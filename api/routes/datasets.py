"""Data sets: register a folder of the server, see what its check found."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.caller import Submitter, Viewer
from api.folders import dataset_paths
from api.openapi import problems
from api.repeatable import Repeatable
from api.requests import IdInUrl, NewDataset, PageQuery
from api.schemas import DatasetView, Page
from api.services import ServicesDep
from api.teams import check_team
from api.visible import visible_dataset

router = APIRouter(prefix="/v1/datasets", tags=["data sets"], route_class=Repeatable)


@router.post("", status_code=202, responses=problems(400, 403, 413))
def add_dataset(
    asked: NewDataset, services: ServicesDep, caller: Submitter, response: Response
) -> DatasetView:
    """Register a COCO data set; it is usable once its check is done."""
    team = caller.team_of(asked.team)
    check_team(services.teams, team, "body")
    paths = dataset_paths(asked, services.settings.dataset_roots)
    dataset = services.library.add_dataset(asked.name, **asdict(paths), team=team)
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return DatasetView.of(dataset)


@router.get("", responses=problems())
def list_datasets(
    query: Annotated[PageQuery, Query()], services: ServicesDep, caller: Viewer
) -> Page[DatasetView]:
    """Data sets, newest first."""
    found = services.library.datasets(
        team=caller.only_team, after=query.after, limit=query.limit + 1
    )
    items = [DatasetView.of(dataset) for dataset in found[: query.limit]]
    has_more = len(found) > query.limit
    return Page(items=items, has_more=has_more, next_after=items[-1].id if has_more else None)


@router.get("/{dataset_id}", responses=problems(404))
def get_dataset(dataset_id: IdInUrl, services: ServicesDep, caller: Viewer) -> DatasetView:
    """A data set with the report of its check."""
    return DatasetView.of(visible_dataset(services, caller, dataset_id))
