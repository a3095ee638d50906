"""What a job published, from Python."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import BinaryIO

import httpx

from api.client.wire import ApiError, Wire, refusal
from api.schemas import ArtifactView, Page

PIECE_BYTES = 1024 * 1024
RESUME_AFTER_S = (0.5, 1.0, 2.0, 4.0)  # waits of a download that gets no further


class ArtifactCalls(Wire):
    """What is asked of artifacts."""

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
                raise refusal(answer)
            if start and answer.status_code != 206:  # the whole file once more
                file.seek(0)
                file.truncate()
            for piece in answer.iter_raw(PIECE_BYTES):
                file.write(piece)
