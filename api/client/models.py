"""Models from Python: look, note, compare, export, and let them look at pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import httpx

from api.client.wire import ApiError, Wire
from api.comparison_views import ComparisonView
from api.model_views import ModelView, Prediction
from api.queue_views import Class
from api.schemas import JobView, Page

PATIENCE_S = 90.0  # with a picture: it may be looked at for long
_PNG_BEGINS = b"\x89PNG"


class ModelFilter(TypedDict, total=False):
    """Which models; None is as good as left out."""

    name: str | None
    tag: str | None
    dataset: str | None
    job: str | None
    team: str | None


class ModelCalls(Wire):
    """What is asked of models."""

    def models(
        self, *, after: str | None = None, limit: int = 50, **which: Unpack[ModelFilter]
    ) -> Page[ModelView]:
        """Models, newest first."""
        return self._get("/v1/models", Page[ModelView], after=after, limit=limit, **which)

    def model(self, model_id: str) -> ModelView:
        """A model."""
        return self._get(f"/v1/models/{model_id}", ModelView)

    def find_model(self, model_or_job: str) -> ModelView:
        """The model of this id, or the one that the job of this id made."""
        try:
            return self.model(model_or_job)
        except ApiError as error:
            if error.status != 404:
                raise
        made = self.models(job=model_or_job, limit=1).items
        if not made:
            detail = f"there is no model {model_or_job}, and no job of that id that made one"
            raise ApiError(404, "not_found", detail)
        return made[0]

    def job_behind(self, job_or_model: str) -> str:
        """The id of the job that made the model of this id; any other id as it is."""
        try:
            return self.model(job_or_model).job_id
        except ApiError as error:
            if error.status != 404:
                raise
            return job_or_model

    def change_model(
        self,
        model_id: str,
        *,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        notes: str | None = None,
    ) -> ModelView:
        """Give a model tags, take them away, replace its notes; what is left out stays."""
        body: dict[str, Any] = {"add_tags": list(add_tags), "remove_tags": list(remove_tags)}
        body |= {} if notes is None else {"notes": notes}
        return self._ask("PATCH", f"/v1/models/{model_id}", ModelView, body)

    def unregister_model(self, model_id: str) -> None:
        """Take a model off the list; its job keeps its files."""
        self._send("DELETE", f"/v1/models/{model_id}")

    def export_model(
        self,
        model_id: str,
        *,
        pool: str | None = None,
        priority: Class | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> JobView:
        """Queue the model's export; `options` are `ExportOptions`."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        where = {"pool": pool, "priority": priority}
        query = {name: value for name, value in where.items() if value is not None}
        path = f"/v1/models/{model_id}:export"
        answer = self._send("POST", path, json=options, headers=headers, params=query)
        return JobView.model_validate_json(answer.content)

    def compare(self, model_ids: Sequence[str]) -> ComparisonView:
        """Models side by side."""
        answer = self._send("GET", "/v1/compare", params={"model": list(model_ids)})
        return ComparisonView.model_validate_json(answer.content)

    def compare_as_csv(self, model_ids: Sequence[str]) -> str:
        """The same table for a spreadsheet."""
        query: dict[str, Any] = {"model": list(model_ids), "format": "csv"}
        return self._send("GET", "/v1/compare", params=query).text

    def predict(
        self,
        model_id: str,
        picture: bytes,  # JPEG or PNG
        *,
        score_threshold: float = 0.3,
    ) -> Prediction:
        """What a model finds in a picture."""
        answer = self._look(model_id, picture, score_threshold, draw=False)
        return Prediction.model_validate_json(answer.content)

    def draw(self, model_id: str, picture: bytes, *, score_threshold: float = 0.3) -> bytes:
        """The picture with what a model finds painted in, as PNG."""
        return self._look(model_id, picture, score_threshold, draw=True).content

    def _look(
        self, model_id: str, picture: bytes, score_threshold: float, *, draw: bool
    ) -> httpx.Response:
        kind = "image/png" if picture.startswith(_PNG_BEGINS) else "image/jpeg"
        return self._send(
            "POST",
            f"/v1/models/{model_id}:predict",
            content=picture,
            headers={"Content-Type": kind},
            params={"score_threshold": score_threshold, "draw": draw},
            timeout=httpx.Timeout(PATIENCE_S, connect=self._http.timeout.connect),
        )
