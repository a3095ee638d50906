"""The objects below a prefix of any bucket that the server's credentials read. Needs boto3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.session import Session
from botocore.exceptions import BotoCoreError, ClientError

from pgd_core.errors import StorageUnavailable
from pgd_core.files.s3 import CONFIG

_CHUNK = 2**20


@dataclass(frozen=True)
class FoundObject:
    """An object as the bucket lists it; its name was given by whoever put it there."""

    name: str  # below the prefix
    key: str
    size: int  # bytes, as listed
    etag: str


class S3Prefix:
    """What lies below s3://`bucket`/`prefix`/; StorageUnavailable where the bucket does not answer,
    FileNotFoundError where there is no such bucket or nobody may read it."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._client = Session().client("s3", config=CONFIG)
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""

    def objects(self) -> Iterator[FoundObject]:
        """All of them, in the order of their names."""
        pages = iter(
            self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
        )
        while True:
            with self._asked():
                page = next(pages, None)
            if page is None:
                return
            for item in page.get("Contents", ()):
                key = item["Key"]
                yield FoundObject(
                    key.removeprefix(self._prefix), key, int(item["Size"]), item["ETag"]
                )

    def chunks(self, found: FoundObject) -> Iterator[bytes]:
        """The object's bytes as they come; they are those that were listed, or it fails."""
        with self._asked():
            answer: Any = self._client.get_object(
                Bucket=self._bucket, Key=found.key, IfMatch=found.etag
            )
            yield from answer["Body"].iter_chunks(_CHUNK)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 404, 412):
                raise FileNotFoundError(
                    f"s3://{self._bucket}/{self._prefix} cannot be read: {error}"
                ) from error
            raise self._away(error) from error
        except (BotoCoreError, Boto3Error) as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> StorageUnavailable:
        return StorageUnavailable(f"s3://{self._bucket} does not serve: {error}")
