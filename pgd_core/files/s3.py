"""Blobs in a bucket of S3, or of a server that speaks its protocol. Needs boto3.

Credentials, region and endpoint are found as boto3 finds them: in AWS_* variables such as
AWS_ENDPOINT_URL_S3, in its configuration files, or from the machine's role.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pgd_core.errors import NotFound, StorageUnavailable
from pgd_core.files.cache import FileCache
from pgd_core.files.keys import checked_key, is_part
from pgd_core.files.measure import measure
from pgd_core.jobs.protocols import StoredFile

_DIGEST = "sha256"  # the name in an object's metadata
CONFIG = Config(
    signature_version="s3v4",  # links of the older signature are refused by newer regions
    connect_timeout=3,
    read_timeout=30,  # a large file of many parts is put together while we wait
    retries={"mode": "standard", "total_max_attempts": 3},
)
_TRANSFER = TransferConfig(max_concurrency=4)


class S3FileStore:
    """Implements `jobs.protocols.FileStore`: the object's name is the key below `prefix`.

    An object is there whole or not at all: S3 shows it once its last part is in, and the parts of
    a put that fails are taken back. Those of a process that was killed stay hidden, until the
    hourly sweep or a rule of the bucket (AbortIncompleteMultipartUpload) deletes them.

    Raises StorageUnavailable when the bucket does not answer as it should, within about half a
    minute.
    """

    def __init__(self, bucket: str, prefix: str, cache: FileCache) -> None:
        self._client = Session().client("s3", config=CONFIG)
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._cache = cache

    def put(self, key: str, source: Path) -> tuple[int, str]:
        name = self._name(key)
        with source.open("rb") as file:
            size, sha256 = measure(file)
        # S3 computes the sha256 of what arrives and refuses what differs.
        extra = {"Metadata": {_DIGEST: sha256}, "ChecksumAlgorithm": "SHA256"}
        with self._asked():
            self._client.upload_file(
                str(source), self._bucket, name, ExtraArgs=extra, Config=_TRANSFER
            )
        source.unlink()
        return size, sha256

    def open(self, key: str) -> BinaryIO:
        return self.path(key).open("rb")

    def path(self, key: str) -> Path:
        name = self._name(key)
        size, sha256 = self._found(key)
        if not sha256:
            raise NotFound(
                f"the file {key!r} was not put here by this service: s3://{self._bucket}/{name} "
                f"has no {_DIGEST} among its metadata; copy it anew with its metadata"
            )

        def fetch(place: Path) -> None:
            with self._asked():
                self._client.download_file(self._bucket, name, str(place), Config=_TRANSFER)

        return self._cache.get(key.rpartition("/")[2], size, sha256, fetch)

    def keys(self, folder: str) -> Sequence[str]:
        start = f"{self._name(folder)}/"
        found = []
        with self._asked():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=start, Delimiter="/"
            )
            for page in pages:
                found += [item["Key"].removeprefix(start) for item in page.get("Contents", ())]
        return sorted(f"{folder}/{name}" for name in found if is_part(name))

    def delete(self, key: str) -> None:
        """A file that is not there is deleted already."""
        with self._asked():
            self._client.delete_object(Bucket=self._bucket, Key=self._name(key))

    def walk(self, folder: str) -> Iterator[StoredFile]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._name(folder)}/"
        )
        for page in self._each(pages):
            for item in page.get("Contents", ()):
                key = item["Key"].removeprefix(self._prefix)
                if all(is_part(part) for part in key.split("/")):
                    yield StoredFile(key, item["Size"], item["LastModified"].astimezone(UTC))

    def forget_unfinished(self, older_than: timedelta) -> int:
        """Bytes that are freed are not known here, where parts are not listed one by one: 0."""
        oldest = datetime.now(UTC) - older_than
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        for page in self._each(pages):
            for upload in page.get("Uploads", ()):
                if upload["Initiated"] < oldest:
                    self._abort(upload["Key"], upload["UploadId"])
        return 0

    def _abort(self, name: str, upload: str) -> None:
        with self._asked():
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)
            except self._client.exceptions.NoSuchUpload:
                return  # finished, or forgotten by another

    def _each(self, pages: Iterable[Any]) -> Iterator[Any]:
        """Page by page; what the caller does with one is not the storage's fault."""
        rest = iter(pages)
        while True:
            with self._asked():
                page = next(rest, None)
            if page is None:
                return
            yield page

    def link(self, key: str, filename: str, media_type: str, valid_for: timedelta) -> str:
        self._found(key)
        with self._asked():
            return str(
                self._client.generate_presigned_url(
                    "get_object",
                    Params={
                        "Bucket": self._bucket,
                        "Key": self._name(key),
                        "ResponseContentDisposition": _attachment(filename),
                        "ResponseContentType": media_type,
                    },
                    ExpiresIn=int(valid_for.total_seconds()),
                )
            )

    def check(self) -> str:
        with self._asked():
            self._client.head_bucket(Bucket=self._bucket)
        return "the bucket answers"

    def _name(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _found(self, key: str) -> tuple[int, str]:
        """Size, and the sha256 that `put` noted; NotFound when there is no such object."""
        with self._asked():
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._name(key))
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                # A bucket that is not there answers alike, and says nothing about the file.
                self._client.head_bucket(Bucket=self._bucket)
                raise NotFound(f"no file {key!r} in the file store") from error
        return int(head["ContentLength"]), str(head["Metadata"].get(_DIGEST, ""))

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, Boto3Error, ClientError) as error:
            raise StorageUnavailable(
                f"the storage s3://{self._bucket} does not serve: {error}; check PGD_FILES_URL and "
                "the AWS_ variables (AWS_ENDPOINT_URL_S3, credentials, region)"
            ) from error


def _attachment(filename: str) -> str:
    """Content-Disposition, as RFC 6266 has it."""
    quoted = quote(filename, safe="")
    if quoted == filename:
        return f'attachment; filename="{filename}"'
    return f"attachment; filename*=utf-8''{quoted}"
