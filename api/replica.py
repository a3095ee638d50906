"""`pgd replica`: the paper in miniature, as one study on the service.

FOLDER/data, FOLDER/service   as `pgd demo` has them
FOLDER/study.md, .csv, .json, .png, and replica.md: the table with the commit and the machine
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from api import terminal
from api.client import Client
from api.demo import follow_to_success, key_in, make_data, register, service
from api.replica_plan import DATA, study_spec

WORKERS = 2  # side by side, each with its share of the cores: faster than one after the other


def run_replica(seeds: int, seeds_of_all: int, folder: Path, console: Console) -> None:
    """Run it, or what an earlier run in this folder did not come to; DemoFailed if it fails."""
    began, folder = time.monotonic(), folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    workers = min(WORKERS, os.cpu_count() or 1)
    with (
        service(folder, console, workers=workers) as url,
        Client(url, api_key=key_in(folder)) as client,
    ):
        make_data(DATA, folder, console)
        dataset = _dataset(client, folder / "data", console)
        submitted = client.submit(study_spec(dataset, seeds, seeds_of_all))
        _take_over(client, submitted.id)
        study = follow_to_success(client, submitted.id, "replica", console)
        for artifact in client.artifacts(study.id):
            client.download(study.id, artifact.name, folder)
    minutes = (time.monotonic() - began) / 60
    table = (folder / "study.md").read_text(encoding="utf-8")
    (folder / "replica.md").write_text(_report(table, minutes, workers), encoding="utf-8")
    console.print(terminal.study_table(study.result))
    console.print(f"all in {folder}; it took {minutes:.0f} min", soft_wrap=True)


def _take_over(client: Client, study_id: str) -> None:
    """Cancel what an earlier run left, but for the jobs that this one needs as well."""
    for job in client.watch(study_id):
        if job.ended or job.progress:  # it has taken its jobs, or found all of them done
            break
    for state in ("queued", "running"):
        for job in client.jobs(kind="study", state=state, limit=200).items:
            if job.id != study_id:
                client.cancel(job.id)


def _dataset(client: Client, folder: Path, console: Console) -> str:
    """The id of the data set; the same as an earlier run's, so that its jobs are found again."""
    for known in client.datasets(limit=200).items:
        if known.name == "replica" and known.state == "ready":
            return known.id
    return register(client, "replica", folder, console).id


def _report(table: str, minutes: float, workers: int) -> str:
    machine = f"{_processor()}, {os.cpu_count()} cores, {workers} workers; {platform.platform()}"
    facts = (
        f"- run: {datetime.now(UTC):%Y-%m-%d}, {minutes:.0f} minutes",
        f"- commit: {_commit()}",
        f"- machine: {machine}",
    )
    return "\n".join([table.rstrip(), "", *facts, ""])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """Of the sources this runs from; "unknown" where they are no checkout."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
