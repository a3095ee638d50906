"""The contract of `HousekeepingStore`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgd_core.jobs.job import Artifact, Reason, Upload
from pgd_core.jobs.machine import Offer
from pgd_core.store import housekeeping
from pgd_core.store.housekeeping import SqlHousekeeping

MINUTE = timedelta(minutes=1)
WEEK = timedelta(days=7)


@pytest.fixture
def rows(engine, monkeypatch) -> SqlHousekeeping:
    monkeypatch.setattr(housekeeping, "_BATCH", 2)  # so that a few ids are several batches
    return SqlHousekeeping(engine)


@pytest.fixture
def succeeded(jobs, spec):
    """A job with one artifact."""
    job = jobs.submit(spec)
    _, claim = jobs.claim(Offer("worker", "default"), MINUTE)
    jobs.started(claim)
    key = f"jobs/{job.id}/1/detector.safetensors"
    artifact = Artifact(job.id, 1, "detector.safetensors", 7, "ab" * 32, key, "text/plain")
    return jobs.finish(claim, Reason.COMPLETED, artifacts=[artifact])


def sent(library, name, age=timedelta(0)):
    """An upload that arrived some time ago."""
    arrived = datetime.now(UTC) - age
    library.add_upload(Upload(name, "t.pth", 7, "ab" * 32, f"uploads/{name}", arrived))
    return name


def test_the_databases_time_can_be_compared_with_a_jobs(rows, succeeded):
    age = rows.now() - succeeded.finished_at

    assert timedelta(seconds=-1) < age < timedelta(hours=1)


def test_of_many_ids_those_of_jobs_bring_their_jobs(rows, jobs, spec, succeeded):
    others = [jobs.submit(spec).id for _ in range(3)]

    found = rows.jobs([*others, "none", succeeded.id])

    assert found.keys() == {*others, succeeded.id}
    assert found[succeeded.id] == succeeded
    assert rows.jobs([]) == {}


def test_owners_are_jobs_teachers_and_uploads(rows, library, model, succeeded):
    upload = sent(library, "one")
    teacher = library.add_teacher("t", model, ("0",), upload=upload)

    ids = [succeeded.id, "none", upload, teacher.id]

    assert rows.owners(ids) == {succeeded.id, upload, teacher.id}


def test_named_keys_are_those_of_the_owners_that_are_asked_for(rows, library, model, succeeded):
    upload, other = sent(library, "one"), sent(library, "two")
    checked = library.add_teacher("t", model, ("0",), upload=upload)
    library.teacher_checked(checked.id, key=f"teachers/{checked.id}/t", sha256="ab" * 32)
    unchecked = library.add_teacher("t", model, ("0",), upload=other)

    ids = [succeeded.id, upload, checked.id, unchecked.id, "none"]

    assert rows.named_keys(ids) == {
        f"jobs/{succeeded.id}/1/detector.safetensors",
        f"teachers/{checked.id}/t",
        "uploads/one",
    }


def test_a_teachers_weights_are_named_through_its_job(rows, library, model, succeeded):
    key = f"jobs/{succeeded.id}/1/of-the-teacher"
    library.add_teacher("t", model, ("0",), source_job=succeeded.id, key=key, sha256="ab" * 32)

    assert key in rows.named_keys([succeeded.id])


def test_an_upload_is_spent_once_it_is_old_used_or_not(rows, library, model):
    unused, used = sent(library, "unused", 2 * WEEK), sent(library, "used", 2 * WEEK)
    rejected, young = sent(library, "rejected", 2 * WEEK), sent(library, "young")
    ready = library.add_teacher("t", model, ("0",), upload=used)
    library.teacher_checked(ready.id, key="k", sha256="ab" * 32)
    refused = library.add_teacher("t", model, ("0",), upload=rejected)
    library.teacher_checked(refused.id, message="no")

    found = rows.spent_uploads([unused, used, rejected, young, "none"], WEEK)

    assert found == {unused, used, rejected}


def test_an_upload_is_not_spent_while_a_teacher_of_it_is_being_checked(rows, library, model):
    upload = sent(library, "one", 2 * WEEK)
    decided = library.add_teacher("t", model, ("0",), upload=upload)
    waiting = library.add_teacher("t", model, ("0",), upload=upload)
    library.teacher_checked(decided.id, message="no")

    assert rows.spent_uploads([upload], WEEK) == set()
    library.teacher_checked(waiting.id, message="no")
    assert rows.spent_uploads([upload], WEEK) == {upload}
