"""One connection to the service: how it is asked, and how its refusals are told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from api.client.credentials import HERE, find_key

Model = TypeVar("Model", bound=BaseModel)
Spec = Mapping[str, Any] | BaseModel


TRIES = 5  # of a request that came too soon after others


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

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout_s: float = 30.0
    ) -> None:
        url = service_url(base_url)
        key = (api_key or find_key(url) or "").strip()
        if not (key.isascii() and key.isprintable()):  # httpx would print it in its complaint
            raise ApiError(
                0, "bad_key", "the API key has characters that no key has; copy it again"
            )
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout_s,
            trust_env=url.host not in HERE,  # never through a proxy to this machine
        )

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
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            what = f"what {self._http.base_url} answered to {method} {path} is not understood"
            how = "is that the service's address, and of this client's version?"
            raise ApiError(0, "not_understood", f"{what}; {how}") from error

    def _send(self, method: str, path: str, **rest: Any) -> httpx.Response:
        for tries_left in reversed(range(1 if "content" in rest else TRIES)):
            try:
                answer = self._http.request(method, path, **rest)
            except httpx.TransportError as error:
                raise self._unreachable(error) from error
            except httpx.InvalidURL as error:
                raise ApiError(0, "bad_url", f"{path!r} is no address: {error}") from error
            if answer.status_code != 429 or not tries_left:
                break
            time.sleep(_told_to_wait_s(answer))  # it was not looked at: the same again is safe
        if answer.is_error:
            raise refusal(answer)
        return answer

    def _unreachable(self, error: httpx.TransportError) -> ApiError:
        detail = f"no answer from {self._http.base_url}: {error}; is the service up (pgd up)?"
        return ApiError(0, "unreachable", detail)


def service_url(text: str) -> httpx.URL:
    """The address of a service."""
    try:
        return httpx.URL(text)
    except httpx.InvalidURL as error:
        detail = f"{text!r} is no address of a service: {error}; give one as http://127.0.0.1:8080"
        raise ApiError(0, "bad_url", detail) from error


def _told_to_wait_s(answer: httpx.Response) -> float:
    told = answer.headers.get("retry-after", "")
    return min(float(told), 60.0) if told.isdecimal() else 1.0


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
