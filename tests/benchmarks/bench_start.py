"""From submitting a job to its trainer's process, through the real service, its worker idle.

    python -m tests.benchmarks.bench_start [--jobs 20]

The time from before the request until the worker opens the trainer's log, which it does as it
starts the process; over HTTP, on SQLite and on PostgreSQL, with a real Redis. What the trainer then
needs to import, before it can read a picture, is measured apart.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from api.client import Client
from api.demo import service
from pgd_core.datasets.digits import write_digit_scenes
from pgd_core.jobs.job import FINAL_STATES
from pgd_core.jobs.run import LOG_FILE
from tests.benchmarks.tables import markdown
from tests.servers import postgres_url

POLL_S = 0.002
PATIENCE_S = 60.0
MODEL = {"detector": "fcos", "backbone": {"name": "resnet18"}, "head_width": 16, "norm_groups": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--imports", type=int, default=5, help="times that the import is measured")
    options = parser.parse_args()
    rows = [
        ("submit to process, SQLite", *figures(starts("", options.jobs))),
        ("submit to process, PostgreSQL", *figures(starts(postgres_url(), options.jobs))),
        ("the trainer's imports", *figures([import_time() for _ in range(options.imports)])),
    ]
    head = ("seconds", "median", "p95", "least", "most")
    sys.stdout.write(f"{options.jobs} jobs each:\n\n{markdown(head, rows)}\n")


def figures(times: list[float]) -> list[str]:
    ordered = sorted(times)
    p95 = ordered[round(0.95 * (len(ordered) - 1))]
    return [f"{each:.2f}" for each in (statistics.median(times), p95, ordered[0], ordered[-1])]


def starts(database_url: str, jobs: int) -> list[float]:
    """How long each of the jobs took from its submission to its trainer's process."""
    with tempfile.TemporaryDirectory(prefix="pgd-start-") as name, setting(database_url):
        folder = Path(name)
        write_digit_scenes(folder / "data", images=12, val_images=4, size=64, seed=1)
        with (
            (folder / "console").open("w") as console,
            service(folder, Console(file=console)) as url,
            Client(url) as client,
        ):
            dataset = client.add_dataset("digits", folder / "data").id
            assert client.wait_for_dataset(dataset).state == "ready"
            spec = {"kind": "train", "dataset": dataset, "model": MODEL}
            attempts = folder / "service" / "attempts"
            start(client, spec, attempts)  # the first of a service is not counted
            return [start(client, spec, attempts) for _ in range(jobs)]


@contextmanager
def setting(database_url: str) -> Iterator[None]:
    """The database for processes that are started meanwhile."""
    if database_url:
        os.environ["PGD_DATABASE_URL"] = database_url
    try:
        yield
    finally:
        os.environ.pop("PGD_DATABASE_URL", None)


def start(client: Client, spec: dict[str, Any], attempts: Path) -> float:
    """Seconds to the trainer's process; then the job is cancelled, and has ended."""
    begun = time.perf_counter()
    job = client.submit(spec)
    log = attempts / job.id / "1" / LOG_FILE
    while not log.exists():
        assert time.perf_counter() - begun < PATIENCE_S, "the trainer was not started"
        time.sleep(POLL_S)
    taken = time.perf_counter() - begun
    client.cancel(job.id)
    while client.job(job.id).state not in FINAL_STATES:
        assert time.perf_counter() - begun < PATIENCE_S, "the job did not end"
        time.sleep(0.1)
    return taken


def import_time() -> float:
    """Of what a trainer needs before it reads its first picture."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import pgd_core.training.process"], check=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
