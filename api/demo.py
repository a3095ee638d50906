"""`pgd demo`: what a user does, from an empty folder to a downloaded student, over the REST API.

FOLDER/data         the data set
FOLDER/service      the service's own folder; its logs are in logs/
FOLDER/students     what was downloaded: teacher, distilled student, twins
FOLDER/comparison.png
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from api import terminal
from api.client import Client
from api.demo_jobs import PLANS
from api.first_key import FILE as LOCAL_KEY
from api.processes import die_with_parent, last_lines
from api.schemas import DatasetView, JobView

STOP_S = 90.0


class DemoFailed(Exception):
    """A step failed; the message says which, and where to look."""


def run_demo(data: str, seed: int, folder: Path, console: Console) -> None:
    """Run all of it; DemoFailed when a step fails."""
    if data not in PLANS:
        raise DemoFailed(f"there is no data set {data!r}; choose one of {', '.join(PLANS)}")
    began, plan, folder = time.monotonic(), PLANS[data], folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with service(folder, console) as url, Client(url, api_key=key_in(folder)) as client:
        clear_queue(client)
        make_data(plan.data, folder, console)
        dataset = register(client, data, folder / "data", console)
        teacher_job = run(client, plan.teacher_job(dataset.id, seed), "teacher", console)
        teacher = client.add_teacher_from_job(f"{data} teacher", teacher_job.id)
        spec = plan.distill_job(dataset.id, teacher.id, seed)
        distilled = run(client, spec, "students", console)
        fetch(client, teacher_job, distilled, folder / "students", console)
    picture(folder, console)
    console.print(terminal.result_table(distilled.result))
    for sentence in terminal.gains(distilled.result):
        console.print(sentence)
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    console.print(f"all in {folder}; it took {minutes} min {seconds} s", soft_wrap=True)


@contextlib.contextmanager
def service(folder: Path, console: Console, *, workers: int = 1) -> Iterator[str]:
    """`pgd up` as a child on a free port; its URL."""
    command = [sys.executable, "-m", "api.cli", "up", "--port", "0", "--workers", str(workers)]
    command += ["--data-folder", str(folder / "service"), "--dataset-root", str(folder)]
    log = folder / "service.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # it says one line once it serves, or ends
        found = re.search(r"http://\S+", line)
        if found is None:
            raise DemoFailed(f"the service did not start:\n{last_lines(log)}")
        console.print(
            f"the service runs at {found.group()}; its logs: {folder / 'service' / 'logs'}"
        )
        yield found.group()
    finally:
        _stop(process)


def key_in(folder: Path) -> str:
    """The API key of the service that runs in this folder."""
    return (folder / "service" / LOCAL_KEY).read_text(encoding="utf-8").strip()


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # the second one stops at once
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def clear_queue(client: Client) -> None:
    """Cancel what a demo that was stopped left in this folder's queue: it would go first."""
    for state in ("queued", "starting", "running"):
        for job in client.jobs(state=state, limit=200).items:
            client.cancel(job.id)


def make_data(arguments: Sequence[str], folder: Path, console: Console) -> None:
    """Write the data set with `python -m pgd_core.datasets`, unless an earlier run did."""
    data = folder / "data"
    if (data / "val.json").exists():
        console.print(f"the data set is there already: {data}")
        return
    console.print(f"making the data set in {data}")
    _module("making the data set", "pgd_core.datasets", *arguments, str(data))


def register(client: Client, name: str, folder: Path, console: Console) -> DatasetView:
    """Register the data set and wait for its check."""
    dataset = client.wait_for_dataset(client.add_dataset(name, folder).id)
    if dataset.state != "ready":
        raise DemoFailed(f"the data set was rejected: {dataset.report}")
    console.print(f"data set {dataset.id} is ready: {len(dataset.classes)} classes")
    return dataset


def run(client: Client, spec: dict[str, object], title: str, console: Console) -> JobView:
    """Submit a job and follow it to its success."""
    return follow_to_success(client, client.submit(spec).id, title, console)


def follow_to_success(client: Client, job_id: str, title: str, console: Console) -> JobView:
    """Follow a job until it has succeeded; DemoFailed when it does not."""
    console.print(f"{title}: job {job_id}")
    job = terminal.follow(client, job_id, console, title)
    if job.state != "succeeded":
        with contextlib.suppress(Exception):
            console.print(client.logs(job.id)[-3000:], markup=False, highlight=False)
        raise DemoFailed(f"the job of the {title} {job.state}: {job.reason}: {job.message}")
    return job


def fetch(
    client: Client, teacher_job: JobView, distill_job: JobView, folder: Path, console: Console
) -> None:
    """Download the students and the teacher, each file checked against its sha256."""
    folder.mkdir(exist_ok=True)
    wanted = [(distill_job.id, artifact) for artifact in client.artifacts(distill_job.id)]
    taken = {artifact.name for _, artifact in wanted}
    wanted += [
        (teacher_job.id, artifact)
        for artifact in client.artifacts(teacher_job.id)
        if artifact.name not in taken
    ]
    for job_id, artifact in wanted:
        client.download(job_id, artifact.name, folder)
    size = sum(artifact.size for _, artifact in wanted) / 2**20
    console.print(f"downloaded {len(wanted)} files ({size:.1f} MiB), every sha256 right: {folder}")


def picture(folder: Path, console: Console) -> None:
    """Load the downloaded detectors in plain MMDetection and draw what they find."""
    out = folder / "comparison.png"
    arguments = ["--folder", folder / "students", "--data", folder / "data", "--out", out]
    _module("drawing the comparison", "pgd_core.training.showcase", *map(str, arguments))
    console.print(f"drew what each of them finds: {out}", soft_wrap=True)


def _module(doing: str, *command: str) -> None:
    """Run a module of ours to its end."""
    finished = subprocess.run(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        preexec_fn=die_with_parent(),
    )
    if finished.returncode != 0:
        raise DemoFailed(f"{doing} failed:\n{finished.stdout[-3000:]}")
