"""What Schemathesis loads: the run's own keys are not revoked, or the rest of it finds nothing;
and a stream that goes on is not listened to."""

from __future__ import annotations

import os
import re
from typing import Any

import schemathesis

KEYS_IN_USE = "KEYS_IN_USE"
ENDED_JOBS = "ENDED_JOBS"
_AN_ID = re.compile(r"[0-9a-f-]{36}")


@schemathesis.serializer("application/offset+octet-stream")
def piece(context: object, value: Any) -> bytes:  # noqa: ARG001
    """A piece of a resumable upload as it is sent."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: Any) -> bool:  # noqa: ARG001
    """Whether the question may be asked."""
    in_use = os.environ[KEYS_IN_USE].split(",")
    revokes = case.method == "DELETE" and case.path == "/v1/keys/{key_id}"
    parts = case.path_parameters or {}
    if case.path.endswith("/stream"):  # that of a job which has not ended would be waited for
        job_id = str(parts.get("job_id"))
        return job_id in os.environ[ENDED_JOBS].split(",") or not _AN_ID.fullmatch(job_id)
    return not revokes or parts.get("key_id") not in in_use
