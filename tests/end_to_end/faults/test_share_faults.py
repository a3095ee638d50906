"""A machine where a share is not mounted: it must not fail one job after another, as it is always
the one that is free."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgd_core.jobs.job import Job
from tests.end_to_end.faults.mounts import in_the_world_of, may_mount, with_a_disk_at
from tests.end_to_end.faults.service import Process, Service, wait_for
from tests.end_to_end.faults.trainer import Plan
from tests.end_to_end.faults.verdict import check

pytestmark = [
    pytest.mark.skipif(not may_mount(), reason="no file system can be mounted here"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


def without_share(service: Service, folder: Path, **settings: str) -> tuple[Process, str]:
    """A worker that sees an empty folder there, and its name."""
    worker = service.worker(before=with_a_disk_at(folder), **settings)
    [name] = [each.name for each in service.workers.workers() if worker.said(each.name)]
    return worker, name


def troubled(service: Service, name: str, words: str) -> None:
    wait_for(lambda: words in service.workers.worker(name).trouble)


def by_the_others(service: Service, jobs: list[Job], name: str) -> None:
    """All done, none of them by the worker of that name, and no attempt used up."""
    ended = [check(service, job) for job in jobs]
    assert [job.failures for job in ended] == [0] * len(jobs)
    starts = [e for job in jobs for e in service.jobs.events(job.id) if e.kind == "started"]
    assert name not in {event.by for event in starts}


def test_without_the_share_of_a_data_set_no_job_fails_and_another_worker_does_them(
    service: Service,
) -> None:
    root = service.folder / "datasets"
    root.mkdir()
    (root / "t.json").touch()
    service.dataset = service.add_dataset(root=str(root))
    settings = {"PGD_DATASET_ROOTS": f'["{root}"]'}
    _, name = without_share(service, root, **settings)
    jobs = [service.submit(Plan(tag=tag)) for tag in range(4)]
    troubled(service, name, f"{root} is empty or missing on this machine")
    service.worker(**settings)

    by_the_others(service, jobs, name)


def test_without_the_data_folder_s_share_a_worker_claims_nothing_until_it_is_mounted(
    service: Service,
) -> None:
    other = service.worker()
    worker, name = without_share(service, service.data)
    troubled(service, name, "is not the data folder of this database")
    jobs = [service.submit(Plan(tag=tag)) for tag in range(4)]
    by_the_others(service, jobs, name)

    other.stop()
    last = service.submit(Plan(tag=5))
    in_the_world_of(worker, "umount", "--lazy", str(service.data))

    check(service, last, attempts=1)
