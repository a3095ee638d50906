"""What a job published, from Python."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import httpx

from api.client.wire import ApiError, Wire, refusal
from api.schemas import ArtifactView, Page

PIECE_BYTES = 1024 * 1024


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
            sha256 = self._stream(f"/v1/jobs/{job_id}/artifacts/{name}", part)
            if sha256 != artifact.sha256:
                detail = f"{name} arrived with sha256 {sha256}, not {artifact.sha256}; try again"
                raise ApiError(0, "digest_mismatch", detail)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def _stream(self, url: str, path: Path) -> str:
        """Write what `url` gives to `path`; its sha256."""
        running = hashlib.sha256()
        try:
            with self._http.stream("GET", url) as answer, path.open("wb") as file:
                if answer.is_error:
                    answer.read()
                    raise refusal(answer)
                for piece in answer.iter_bytes(PIECE_BYTES):
                    running.update(piece)
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        return running.hexdigest()
