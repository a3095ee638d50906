"""What a shell completes: ids of jobs, asked of the service; nothing where it does not answer."""

from __future__ import annotations

import typer

from api.client import Client

PATIENCE_S = 2.0
MOST = 50
DEFAULT_URL = "http://127.0.0.1:8080"


def job_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """(id, state and name) of the newest jobs that begin so."""
    url = context.find_root().params.get("url") or DEFAULT_URL
    try:
        with Client(url, timeout_s=PATIENCE_S) as client:
            jobs = client.jobs(limit=MOST).items
    except Exception:  # a shell that completes has no place for errors
        return []
    return [
        (job.id, f"{job.state} {job.kind} {job.name}".rstrip())
        for job in jobs
        if job.id.startswith(incomplete)
    ]
