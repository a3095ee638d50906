"""What a job published, from Python."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import BinaryIO

import httpx

from api.client.transfers import READ_BYTES, Patience, Progress, sha256_of, silent
from api.client.wire import ApiError, Wire, refusal
from api.schemas import ArtifactView, Page


class ArtifactCalls(Wire):
    """What is asked of artifacts."""

    def artifacts(self, job_id: str) -> list[ArtifactView]:
        """What a job published."""
        return self._get(f"/v1/jobs/{job_id}/artifacts", Page[ArtifactView]).items

    def download(self, job_id: str, name: str, path: Path, progress: Progress = silent) -> Path:
        """One artifact, whole and with the right sha256, or not at all.

        `path` is the file, or a folder that exists and gets it under its own name. Until it is
        whole it lies beside that as `NAME.part`, where a later call goes on.
        """
        artifact = next((a for a in self.artifacts(job_id) if a.name == name), None)
        if artifact is None:
            raise ApiError(404, "not_found", f"job {job_id} has no artifact {name!r}")
        target = path / Path(name).name if path.is_dir() else path
        part = target.with_name(f"{target.name}.part")
        url = f"/v1/jobs/{job_id}/artifacts/{name}"
        begun = part.exists() and part.stat().st_size > 0
        sha256 = self._fetch(url, artifact, part, progress)
        if sha256 != artifact.sha256 and begun:  # what lay there was of another file
            part.unlink()
            sha256 = self._fetch(url, artifact, part, progress)
        if sha256 != artifact.sha256:
            part.unlink()
            detail = f"{name} arrived with sha256 {sha256}, not {artifact.sha256}; try again"
            raise ApiError(0, "digest_mismatch", detail)
        part.replace(target)
        return target

    def _fetch(self, url: str, artifact: ArtifactView, path: Path, progress: Progress) -> str:
        """Write what `url` gives to `path`, going on where a connection broke; its sha256."""
        patience = Patience()
        with path.open("a+b") as file:
            reached = _end(file) > 0
            while (start := _end(file)) < artifact.size:
                try:
                    if self._stream(url, artifact, file, progress):
                        break
                except (httpx.TransportError, ApiError) as error:
                    if not _passes(error):
                        raise
                    if _end(file) > start:
                        reached = True
                        patience.moved()
                    elif not reached or (wait_s := patience.wait_s()) is None:
                        raise self._told(error) from error
                    else:
                        time.sleep(wait_s)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            return sha256_of(file)

    def _stream(self, url: str, artifact: ArtifactView, file: BinaryIO, progress: Progress) -> bool:
        """Append what is missing; False where all of it has to be asked for anew.

        The service may send us on to the storage, by a fresh link.

        No If-Range: the storage does not know our ETag and would send all of it, so the service
        would have to send it itself. What a part belongs to, its own ETag and the sha256 tell.
        """
        start = _end(file)
        headers = {"Accept-Encoding": "identity"}  # ranges are of the file's own bytes
        if start:
            headers["Range"] = f"bytes={start}-"
        with self._http.stream("GET", url, headers=headers, follow_redirects=True) as answer:
            if answer.is_error:
                answer.read()
                raise refusal(answer)
            if start and not _goes_on(answer, artifact, start):
                file.truncate(0)
                if answer.status_code == 206:
                    return False
            for piece in answer.iter_raw(READ_BYTES):
                file.write(piece)
                progress(_end(file), artifact.size)
        return True

    def _told(self, error: httpx.TransportError | ApiError) -> ApiError:
        return error if isinstance(error, ApiError) else self._unreachable(error)


def _end(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _goes_on(answer: httpx.Response, artifact: ArtifactView, start: int) -> bool:
    """Whether these are the bytes from there on, of the file that is meant."""
    from_there = answer.headers.get("content-range", "").startswith(f"bytes {start}-")
    of_storage = bool(answer.history)
    same = of_storage or answer.headers.get("etag") == f'"{artifact.sha256}"'
    return answer.status_code == 206 and from_there and same


def _passes(error: httpx.TransportError | ApiError) -> bool:
    return not isinstance(error, ApiError) or error.status in (429, 502, 503, 504)
