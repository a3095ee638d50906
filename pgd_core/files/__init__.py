"""Blobs by key: uploads, teachers' weights and published artifacts."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pgd_core.files.cache import FileCache
from pgd_core.files.keys import is_part
from pgd_core.files.local import LocalFileStore
from pgd_core.jobs.protocols import FileStore
from pgd_core.settings import Settings

__all__ = ["LocalFileStore", "open_files"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_files(settings: Settings) -> FileStore:
    """The file store that `files_url` names; ValueError where it names none that can be used.

    A bucket is not asked here: it may be away for a while, and /readyz says so.
    """
    url = settings.files_url
    if not url:
        folder = settings.data_folder / "files"
        folder.mkdir(parents=True, exist_ok=True)
        return LocalFileStore(folder)
    if url.startswith("s3://"):
        return _bucket(settings)
    return LocalFileStore(_folder(url))


def _folder(url: str) -> Path:
    parts = urlsplit(url)
    if url.startswith("file://") and parts.netloc in ("", "localhost"):
        url = unquote(parts.path)
    if not url.startswith("/"):
        raise _unusable(
            url, "name a folder (/srv/files or file:///srv/files) or s3://BUCKET/PREFIX"
        )
    # Made here, it would be on this machine's disk when the share is merely not mounted.
    if not Path(url).is_dir():
        raise _unusable(url, "there is no such folder; create it, or mount the share, first")
    return Path(url)


def _bucket(settings: Settings) -> FileStore:
    url = settings.files_url
    bucket, _, prefix = url.removeprefix("s3://").rstrip("/").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise _unusable(url, f"{bucket!r} is no bucket's name; write s3://BUCKET/PREFIX")
    if prefix and not all(is_part(part) for part in prefix.split("/")):
        raise _unusable(
            url, f"the prefix {prefix!r} may have letters, digits, '.', '_', '-' and '/' only"
        )
    if importlib.util.find_spec("boto3") is None:
        raise _unusable(url, "boto3 is not installed; run pip install 'pgd[s3]'")
    from pgd_core.files.s3 import S3FileStore

    cache = FileCache(settings.data_folder / "files-cache", settings.files_cache_bytes)
    return S3FileStore(bucket, prefix, cache)


def _unusable(url: str, why: str) -> ValueError:
    return ValueError(f"PGD_FILES_URL={url!r} cannot be used: {why}")
