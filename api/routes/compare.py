"""Models side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.accepting import accepts
from api.caller import Viewer
from api.comparison_views import (
    ComparedModel,
    CompareQuery,
    ComparisonView,
    RowView,
    as_csv,
)
from api.openapi import problems
from api.services import ServicesDep
from api.visible import visible_model
from pgd_core.jobs.comparing import compare

router = APIRouter(prefix="/v1/compare", tags=["models"])
_CSV, _JSON = "text/csv", "application/json"


@router.get(
    "",
    response_model=ComparisonView,
    responses={
        200: {"content": {_CSV: {"schema": {"type": "string"}}}, "description": "The table."},
        **problems(404),
    },
)
def compare_models(
    query: Annotated[CompareQuery, Query()],
    request: Request,
    services: ServicesDep,
    caller: Viewer,
) -> ComparisonView | Response:
    """Metrics, gain and cost of 2 to 10 models side by side, and where their specs differ.

    CSV with `format=csv` or `Accept: text/csv`.
    """
    models = [visible_model(services, caller, model_id) for model_id in query.model]
    found = compare(models, [services.jobs.get(model.job_id).spec for model in models])
    view = ComparisonView(
        models=[ComparedModel.of(model) for model in models],
        rows=[RowView.of(row) for row in found.rows],
        warnings=found.warnings,
    )
    wanted = query.format or ("csv" if accepts(request, _CSV, rather_than=_JSON) else "json")
    if wanted == "json":
        return view
    headers = {"Content-Disposition": 'attachment; filename="comparison.csv"'}
    return Response(as_csv(view), media_type=_CSV, headers=headers)
