"""One connection to the service: how it is asked, and how its refusals are told."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)
Spec = Mapping[str, Any] | BaseModel


class ApiError(Exception):
    """The service refused, or could not be reached (status 0)."""

    def __init__(
        self, status: int, code: str, detail: str, errors: tuple[dict[str, str], ...] = ()
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors


class Wire:
    """What every group of calls is made of."""

    def __init__(self, base_url: str, *, timeout_s: float = 30.0) -> None:
        url = httpx.URL(base_url)
        local = url.host in ("127.0.0.1", "localhost", "::1")  # never through a proxy
        self._http = httpx.Client(base_url=url, timeout=timeout_s, trust_env=not local)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def _get(self, path: str, model: type[Model], **query: Any) -> Model:
        return self._ask("GET", path, model, **query)

    def _post(self, path: str, model: type[Model], body: object = None, **query: Any) -> Model:
        return self._ask("POST", path, model, body, **query)

    def _ask(
        self, method: str, path: str, model: type[Model], body: object = None, **query: Any
    ) -> Model:
        params = {key: value for key, value in query.items() if value is not None}
        answer = self._send(method, path, json=body, params=params)
        return model.model_validate_json(answer.content)

    def _send(self, method: str, path: str, **rest: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **rest)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            raise refusal(answer)
        return answer

    def _unreachable(self, error: httpx.TransportError) -> ApiError:
        detail = f"no answer from {self._http.base_url}: {error}; is the service up (pgd up)?"
        return ApiError(0, "unreachable", detail)


def plain(spec: Spec) -> dict[str, Any]:
    """A spec as JSON."""
    return spec.model_dump(mode="json") if isinstance(spec, BaseModel) else dict(spec)


def refusal(answer: httpx.Response) -> ApiError:
    """What an answer that is an error says."""
    try:
        problem = answer.json()
        items = tuple(problem.get("errors", ()))
        return ApiError(answer.status_code, problem["code"], problem["detail"], items)
    except (ValueError, KeyError, AttributeError, TypeError):  # a proxy between us spoke
        return ApiError(answer.status_code, "error", f"HTTP {answer.status_code}")
