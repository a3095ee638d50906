"""The service from Python: `Client("http://127.0.0.1:8080")`. Needs no torch."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import httpx
from pydantic import BaseModel

from api.schemas import (
    ArtifactView,
    CheckedSpec,
    DatasetView,
    EventView,
    JobView,
    MetricLine,
    Page,
    Series,
    TeacherView,
    UploadView,
)
from pgd_core.jobs.job import CheckState

Model = TypeVar("Model", bound=BaseModel)
Checked = TypeVar("Checked", DatasetView, TeacherView)
Spec = Mapping[str, Any] | BaseModel
PIECE_BYTES = 1024 * 1024
RESUME_AFTER_S = (0.5, 1.0, 2.0, 4.0)  # waits of a download that gets no further
PATIENCE_S = 60.0  # that `watch` waits for a service that does not answer
STORING_S = 600.0  # that `upload` gives the service to bring a large file to its disk


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


class Client:
    """One caller of the service; close it, or use it in a `with` block."""

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

    # Data sets

    def add_dataset(self, name: str, folder: str | Path) -> DatasetView:
        """Register a folder of the server with train.json, train/, val.json, val/; or .odgt."""
        return self._post("/v1/datasets", DatasetView, {"name": name, "folder": str(folder)})

    def dataset(self, dataset_id: str) -> DatasetView:
        """A data set with its report."""
        return self._get(f"/v1/datasets/{dataset_id}", DatasetView)

    def datasets(self, *, after: str | None = None, limit: int = 50) -> Page[DatasetView]:
        """Data sets, newest first."""
        return self._get("/v1/datasets", Page[DatasetView], after=after, limit=limit)

    def wait_for_dataset(
        self, dataset_id: str, *, interval_s: float = 0.5, timeout_s: float = 600.0
    ) -> DatasetView:
        """The data set once its check is done; ready or rejected. TimeoutError after a while."""
        return _checked(lambda: self.dataset(dataset_id), interval_s, timeout_s)

    # Teachers and uploads

    def upload(self, path: Path) -> UploadView:
        """Send a file; the server checks its sha256."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            headers = {"Content-Length": str(path.stat().st_size)}
            query = {"filename": path.name, "sha256": sha256}
            patient = httpx.Timeout(STORING_S, connect=self._http.timeout.connect)
            answer = self._send(
                "POST",
                "/v1/uploads",
                content=file,
                headers=headers,
                params=query,
                timeout=patient,
            )
        return UploadView.model_validate_json(answer.content)

    def add_teacher_from_job(self, name: str, job_id: str) -> TeacherView:
        """Register the detector that a train or distill job made."""
        return self._post("/v1/teachers", TeacherView, {"name": name, "source": {"job": job_id}})

    def add_teacher_from_upload(
        self, name: str, upload_id: str, model: Spec, classes: list[str]
    ) -> TeacherView:
        """Register an uploaded checkpoint, declared as a `DetectorSpec` and its classes."""
        source = {"upload": upload_id}
        body = {"name": name, "source": source, "model": _plain(model), "classes": classes}
        return self._post("/v1/teachers", TeacherView, body)

    def teacher(self, teacher_id: str) -> TeacherView:
        """A teacher."""
        return self._get(f"/v1/teachers/{teacher_id}", TeacherView)

    def wait_for_teacher(
        self, teacher_id: str, *, interval_s: float = 0.5, timeout_s: float = 600.0
    ) -> TeacherView:
        """The teacher once its check is done; ready or rejected. TimeoutError after a while."""
        return _checked(lambda: self.teacher(teacher_id), interval_s, timeout_s)

    def teachers(self, *, after: str | None = None, limit: int = 50) -> Page[TeacherView]:
        """Teachers, newest first."""
        return self._get("/v1/teachers", Page[TeacherView], after=after, limit=limit)

    # Jobs

    def validate(self, spec: Spec) -> CheckedSpec:
        """Check a job without queueing it."""
        return self._post("/v1/jobs", CheckedSpec, _plain(spec), validate_only=True)

    def submit(self, spec: Spec, *, idempotency_key: str | None = None) -> JobView:
        """Queue a job; with a key it may be sent again safely."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        answer = self._send("POST", "/v1/jobs", json=_plain(spec), headers=headers)
        return JobView.model_validate_json(answer.content)

    def job(self, job_id: str) -> JobView:
        """A job as it stands."""
        return self._get(f"/v1/jobs/{job_id}", JobView)

    def jobs(
        self,
        *,
        after: str | None = None,
        limit: int = 50,
        state: str | None = None,
        kind: str | None = None,
    ) -> Page[JobView]:
        """Jobs, newest first."""
        query = {"after": after, "limit": limit, "state": state, "kind": kind}
        return self._get("/v1/jobs", Page[JobView], **query)

    def cancel(self, job_id: str) -> JobView:
        """Cancel a job."""
        return self._post(f"/v1/jobs/{job_id}:cancel", JobView, None)

    def watch(self, job_id: str, *, interval_s: float = 1.0) -> Iterator[JobView]:
        """The job each time it changed, until it has ended; short outages are sat out."""
        last: JobView | None = None
        answered = time.monotonic()
        while True:
            try:
                job = self.job(job_id)
            except ApiError as error:
                if 0 < error.status < 500 or time.monotonic() - answered > PATIENCE_S:
                    raise
            else:
                answered = time.monotonic()
                if job != last:
                    yield job
                if job.ended:
                    return
                last = job
            time.sleep(interval_s)

    def metrics(
        self, job_id: str, *, type: str | None = None, after: int = 0, limit: int = 1000
    ) -> Series[MetricLine]:
        """Lines of progress after a sequence number."""
        path = f"/v1/jobs/{job_id}/metrics"
        return self._get(path, Series[MetricLine], type=type, after=after, limit=limit)

    def events(self, job_id: str, *, after: int = 0) -> Series[EventView]:
        """The job's history after a sequence number."""
        return self._get(f"/v1/jobs/{job_id}/events", Series[EventView], after=after)

    def logs(self, job_id: str, *, attempt: int | None = None) -> str:
        """The end of the trainer's log."""
        query = {} if attempt is None else {"attempt": attempt}
        return self._send("GET", f"/v1/jobs/{job_id}/logs", params=query).text

    # Artifacts

    def artifacts(self, job_id: str) -> list[ArtifactView]:
        """What a job published."""
        return self._get(f"/v1/jobs/{job_id}/artifacts", Page[ArtifactView]).items

    def download(self, job_id: str, name: str, path: Path) -> Path:
        """One artifact, whole and with the right sha256, or not at all.

        `path` is the file, or a folder that exists and gets it under its own name.
        """
        artifact = next((a for a in self.artifacts(job_id) if a.name == name), None)
        if artifact is None:
            raise ApiError(404, "not_found", f"job {job_id} has no artifact {name!r}")
        target = path / Path(name).name if path.is_dir() else path
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            sha256 = self._fetch(f"/v1/jobs/{job_id}/artifacts/{name}", part)
            if sha256 != artifact.sha256:
                detail = f"{name} arrived with sha256 {sha256}, not {artifact.sha256}; try again"
                raise ApiError(0, "digest_mismatch", detail)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def _fetch(self, url: str, path: Path) -> str:
        """Write what `url` gives to `path`, going on where a connection broke; its sha256."""
        waits = iter(RESUME_AFTER_S)
        with path.open("w+b") as file:
            while True:
                start = file.tell()
                try:
                    self._stream(url, file)
                    break
                except httpx.TransportError as error:
                    if file.tell() > start:
                        waits = iter(RESUME_AFTER_S)
                    elif start == 0 or (wait := next(waits, None)) is None:
                        raise self._unreachable(error) from error
                    else:
                        time.sleep(wait)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _stream(self, url: str, file: BinaryIO) -> None:
        """Append what is missing. The service may send us on to the storage, by a fresh link."""
        start = file.tell()
        headers = {"Accept-Encoding": "identity"}  # ranges are of the file's own bytes
        if start:
            headers["Range"] = f"bytes={start}-"
        with self._http.stream("GET", url, headers=headers, follow_redirects=True) as answer:
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            if start and answer.status_code != 206:  # the whole file once more
                file.seek(0)
                file.truncate()
            for piece in answer.iter_raw(PIECE_BYTES):
                file.write(piece)

    # Wire

    def _get(self, path: str, model: type[Model], **query: Any) -> Model:
        params = {key: value for key, value in query.items() if value is not None}
        return model.model_validate_json(self._send("GET", path, params=params).content)

    def _post(self, path: str, model: type[Model], body: object, **query: Any) -> Model:
        return model.model_validate_json(self._send("POST", path, json=body, params=query).content)

    def _send(self, method: str, path: str, **rest: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **rest)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            raise _refusal(answer)
        return answer

    def _unreachable(self, error: httpx.TransportError) -> ApiError:
        detail = f"no answer from {self._http.base_url}: {error}; is the service up (pgd up)?"
        return ApiError(0, "unreachable", detail)


def _checked(look: Callable[[], Checked], interval_s: float, timeout_s: float) -> Checked:
    deadline = time.monotonic() + timeout_s
    while (thing := look()).state is CheckState.CHECKING:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{thing.name!r} is still unchecked; does the reconciler run?")
        time.sleep(interval_s)
    return thing


def _plain(spec: Spec) -> dict[str, Any]:
    return spec.model_dump(mode="json") if isinstance(spec, BaseModel) else dict(spec)


def _refusal(answer: httpx.Response) -> ApiError:
    try:
        problem = answer.json()
        items = tuple(problem.get("errors", ()))
        return ApiError(answer.status_code, problem["code"], problem["detail"], items)
    except (ValueError, KeyError, AttributeError, TypeError):  # a proxy between us spoke
        return ApiError(answer.status_code, "error", f"HTTP {answer.status_code}")
