"""What live streams and figures ask of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pgd_core.jobs.job import JobState, Reason
from pgd_core.jobs.keys import Role
from pgd_core.jobs.live import Marks
from pgd_core.jobs.machine import Device, Offer, Worker
from pgd_core.jobs.run import ProgressLine
from pgd_core.store import SqlKeyStore, SqlWebhookStore, SqlWorkerStore
from pgd_core.store.curves import SqlCurveStore
from pgd_core.store.figures import SqlFigures
from pgd_core.store.live import SqlLiveStore

MINUTE = timedelta(minutes=1)


def line(n, type="train"):
    return ProgressLine(type=type, at="2026-01-02T03:04:05+00:00", iteration=n)


def test_marks_say_how_far_each_job_is(engine, jobs, spec):
    job, quiet = jobs.submit(spec), jobs.submit(spec)
    _, claim = jobs.claim(Offer("w", "default"), MINUTE)
    jobs.started(claim)
    jobs.heartbeat(claim, MINUTE, [line(1), line(2)])
    store = SqlLiveStore(engine)

    marks = store.marks([job.id, quiet.id, "none"])
    assert marks == {
        job.id: Marks(JobState.RUNNING, "default", events=3, metrics=2),
        quiet.id: Marks(JobState.QUEUED, "default", events=1, metrics=0),
    }
    jobs.finish(claim, Reason.COMPLETED)
    ended = store.marks([job.id])[job.id]
    assert (ended.ended, ended.of("events"), ended.of("metrics")) == (True, 4, 2)
    assert store.marks([]) == {}


def test_keys_that_are_revoked_or_expired_are_not_good(engine):
    keys = SqlKeyStore(engine)
    good, _ = keys.create("good", "a", Role.VIEWER)
    revoked, _ = keys.create("revoked", "a", Role.VIEWER)
    keys.revoke(revoked.id)
    past = datetime.now(UTC) - MINUTE
    expired, _ = keys.create("expired", "a", Role.VIEWER, expires_at=past)

    found = SqlLiveStore(engine).good_keys([good.id, revoked.id, expired.id, "none"])

    assert found == {good.id}


def test_lines_of_training_and_validation_come_in_order_over_several_pieces(engine, jobs, spec):
    jobs.submit(spec)
    job, claim = jobs.claim(Offer("w", "default"), MINUTE)
    jobs.heartbeat(claim, MINUTE, [line(0, "stage"), *(line(n) for n in range(2001))])
    jobs.heartbeat(claim, MINUTE, [line(9, "validation")])

    found = list(SqlCurveStore(engine).lines(job.id))

    assert [each.iteration for _, each in found] == [*range(2001), 9]
    assert {attempt for attempt, _ in found} == {1}


def test_figures_count_jobs_workers_slots_attempts_and_deliveries(engine, jobs, spec):
    devices = tuple(Device(n, "H100", f"GPU-{n}", 40_000) for n in range(4))
    SqlWorkerStore(engine).announce(Worker("w", "host", 1, "default", devices, {}))
    webhooks = SqlWebhookStore(engine)
    webhooks.test(webhooks.add("default", "https://hooks.example", (), by="")[0].id)
    for _ in range(3):
        jobs.submit(spec)
    jobs.claim(Offer("w", "default", devices[:1]), MINUTE)
    _, second = jobs.claim(Offer("w", "default", devices[1:2]), MINUTE)
    jobs.started(second)
    jobs.finish(second, Reason.DIVERGED)

    figures = SqlFigures(engine).figures()

    assert figures.jobs == {
        ("queued", "default", "default"): 1,
        ("starting", "default", "default"): 1,
        ("failed", "default", "default"): 1,
    }
    assert 0 <= figures.oldest_queued_s["default", "default"] < 60
    assert figures.workers == {("default", "active"): 1}
    assert (figures.slots_used, figures.slots_free) == ({"default": 1}, {"default": 3})
    assert figures.attempts == {"diverged": 1}
    assert figures.deliveries == {"pending": 1}
