"""Sending files from Python: at once, or, if large, in pieces that survive broken connections."""

from __future__ import annotations

import base64
import time
from io import BufferedReader
from pathlib import Path

import httpx

from api.client.transfers import (
    TUS_PATH,
    Patience,
    Progress,
    UploadMemory,
    is_address,
    read_piece,
    sha256_of,
    silent,
)
from api.client.wire import ApiError, Wire, refusal
from api.schemas import UploadView

STORING_S = 600.0  # that the service is given to bring a large file to its disk
AT_ONCE_BYTES = 8 * 2**20  # sent as one body; what is larger goes in pieces
PIECE_BYTES = 64 * 2**20  # of one request: proxies have limits
_TUS = {"Tus-Resumable": "1.0.0"}
_GONE = (404, 410)
_PASSING = (0, 408, 423, 429, 502, 503, 504)  # 423: a broken connection is not known as such yet


class UploadCalls(Wire):
    """What is asked of uploads."""

    def upload(self, path: Path, progress: Progress = silent) -> UploadView:
        """Send a file; both sides check its sha256.

        A large one goes on where a connection broke, and where an earlier call, of this or of
        another process, ended.
        """
        with path.open("rb") as file:
            sha256 = sha256_of(file)
            size = file.tell()
            file.seek(0)
            if size <= AT_ONCE_BYTES:
                upload = self._send_at_once(file, path.name, size, sha256)
            else:
                upload = _Sending(self, file, path, size, sha256, progress).upload()
        if (upload.size, upload.sha256) != (size, sha256):
            detail = f"{path.name} arrived with sha256 {upload.sha256}, not {sha256}; send it again"
            raise ApiError(0, "digest_mismatch", detail)
        progress(size, size)
        return upload

    def _send_at_once(self, file: BufferedReader, name: str, size: int, sha256: str) -> UploadView:
        answer = self._send(
            "POST",
            "/v1/uploads",
            content=file,
            headers={"Content-Length": str(size)},
            params={"filename": name, "sha256": sha256},
            timeout=self._patient(),
        )
        return UploadView.model_validate_json(answer.content)

    def _patient(self) -> httpx.Timeout:
        return httpx.Timeout(STORING_S, connect=self._http.timeout.connect)


class _Sending:
    """One file on its way, in pieces."""

    def __init__(
        self,
        calls: UploadCalls,
        file: BufferedReader,
        path: Path,
        size: int,
        sha256: str,
        progress: Progress,
    ) -> None:
        self._calls, self._file, self._path = calls, file, path
        self._size, self._sha256, self._progress = size, sha256, progress
        self._memory = UploadMemory(calls._http.base_url, sha256, size)
        self._patience = Patience()
        self._farthest, self._reached = 0, False

    def upload(self) -> UploadView:
        """The whole file, registered."""
        address = self._memory.recall()
        while True:
            try:
                address = address or self._begin()
                self._send_rest(address)
                upload_id = address.rpartition("/")[2]
                upload = self._calls._get(f"/v1/uploads/{upload_id}", UploadView)
                self._memory.forget()
                return upload
            except ApiError as error:
                if error.status in _GONE and address is not None:
                    address = None  # it expired, or is another team's; begin anew
                    self._memory.forget()
                elif not self._passes(error):
                    raise
                self._wait(error)

    def _begin(self) -> str:
        said = {"filename": self._path.name, "sha256": self._sha256}
        metadata = ",".join(
            f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in said.items()
        )
        headers = _TUS | {"Upload-Length": str(self._size), "Upload-Metadata": metadata}
        answer = self._calls._send("POST", TUS_PATH, headers=headers)
        address = httpx.URL(answer.headers["location"]).path
        if not is_address(address):
            raise ApiError(0, "error", f"the service sends uploads to {address}, which is none")
        self._memory.keep(address, self._path)
        self._reached = True
        return address

    def _send_rest(self, address: str) -> None:
        answer = self._calls._send("HEAD", address, headers=_TUS)
        self._reached, offset = True, _offset(answer)
        while offset < self._size:
            self._moved_to(offset)
            offset = self._send_piece(address, offset)
        self._moved_to(offset)

    def _send_piece(self, address: str, start: int) -> int:
        """Where the next one begins."""
        size = min(PIECE_BYTES, self._size - start)
        headers = _TUS | {
            "Upload-Offset": str(start),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(size),
        }
        content = read_piece(self._file, start, size, self._told)
        answer = self._calls._send(
            "PATCH", address, content=content, headers=headers, timeout=self._calls._patient()
        )
        return _offset(answer)

    def _told(self, done: int) -> None:
        self._progress(done, self._size)

    def _moved_to(self, offset: int) -> None:
        self._told(offset)
        if offset > self._farthest:
            self._farthest = offset
            self._patience.moved()

    def _passes(self, error: ApiError) -> bool:
        """Whether the same again may succeed; a service that never answered is not waited for."""
        if error.code == "digest_mismatch":
            self._memory.forget()
        passing = error.status in _PASSING or error.code == "wrong_offset"
        return passing and self._reached

    def _wait(self, error: ApiError) -> None:
        if (wait_s := self._patience.wait_s()) is None:
            raise error
        time.sleep(wait_s)


def _offset(answer: httpx.Response) -> int:
    told = answer.headers.get("upload-offset", "")
    if not told.isdecimal():
        raise (
            refusal(answer)
            if answer.is_error
            else ApiError(0, "error", "the service does not say how much of the file it has")
        )
    return int(told)
