"""Which prefixes of S3 people may have data sets fetched from."""

from __future__ import annotations

from pgd_core.errors import FieldProblem, Forbidden, InvalidSpec
from pgd_core.settings import Settings

_POINTER = "/source/s3"


def allowed_prefix(url: str, settings: Settings) -> tuple[str, str]:
    """(bucket, prefix) of s3://BUCKET/PREFIX; Forbidden outside what is allow-listed.

    A prefix ends where a name does: s3://b/street allows s3://b/street/day, not s3://b/street-2.
    """
    if not settings.files_url.startswith("s3://"):
        message = "this server keeps its files in no S3 (PGD_FILES_URL), so it fetches none"
        raise InvalidSpec(message, (FieldProblem(_POINTER, message),))
    bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
    inside = f"{bucket}/{prefix}".rstrip("/") + "/"
    allowed = [each.removeprefix("s3://").strip("/") for each in settings.dataset_s3_prefixes]
    if not any(each and inside.startswith(f"{each}/") for each in allowed):
        named = ", ".join(settings.dataset_s3_prefixes) or "no prefix"
        raise Forbidden(
            f"{url} is outside what this server may fetch: {named} (PGD_DATASET_S3_PREFIXES)"
        )
    own = f"{settings.files_url.removeprefix('s3://').strip('/')}/"
    if inside.startswith(own) or own.startswith(inside):
        raise Forbidden(f"{url} is where this server keeps the files of every team; move it apart")
    return bucket, prefix
