"""The contract of `JobStore`."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update
from structlog.testing import capture_logs

from pgd_core.errors import Conflict, IllegalMove, LeaseLost, NotFound
from pgd_core.jobs.job import Artifact, JobState, Reason, StopRequest
from pgd_core.jobs.machine import Needs, Offer, Placement, PlacementChange, Priority
from pgd_core.jobs.run import ProgressLine
from pgd_core.jobs.spec import job_spec_adapter
from pgd_core.store.engine import writing
from pgd_core.store.tables import JobRow

MINUTE = timedelta(minutes=1)
RUN_OUT = timedelta(seconds=-1)  # a lease that is over as soon as it is given
AT = "2026-01-01T00:00:00Z"


def claim(jobs, lease=MINUTE, pool="default"):
    claimed = jobs.claim(Offer("worker-1", pool), lease)
    assert claimed is not None
    return claimed


def running(jobs, spec, **options):
    job = jobs.submit(spec, **options)
    _, lease = claim(jobs)
    jobs.started(lease)
    return job, lease


def kinds(jobs, job_id):
    return [event.kind for event in jobs.events(job_id)]


def artifact(job, name="student.pth", attempt=1):
    key = f"jobs/{job.id}/{attempt}/{name}"
    return Artifact(
        job.id, attempt, name, 5_000_000_000, "ab" * 32, key, "application/octet-stream"
    )


# Submitting and looking


def test_a_submitted_job_is_queued_with_its_spec(jobs, spec):
    job = jobs.submit(spec, Placement("gpu", priority=Priority.HIGH), max_attempts=2)

    assert job == jobs.get(job.id)
    assert (job.state, job.pool, job.priority, job.max_attempts) == ("queued", "gpu", 1, 2)
    assert (job.kind, job.name, job.attempt, job.failures) == ("train", "a student", 0, 0)
    assert job_spec_adapter.validate_python(job.spec) == spec
    assert job.created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - job.created_at) < MINUTE
    assert kinds(jobs, job.id) == ["submitted"]


def test_the_same_key_and_spec_give_the_first_job_again(jobs, spec):
    first = jobs.submit(spec, idempotency_key="k")

    assert jobs.submit(spec, idempotency_key="k").id == first.id
    assert len(jobs.list()) == 1


def test_the_same_key_with_another_spec_is_a_conflict(jobs, spec):
    jobs.submit(spec, idempotency_key="k")

    with pytest.raises(Conflict, match="another spec"):
        jobs.submit(spec.model_copy(update={"name": "other"}), idempotency_key="k")


def test_the_same_key_of_another_caller_is_another_key(jobs, spec):
    mine = jobs.submit(spec, idempotency_key="k", caller="me")
    theirs = jobs.submit(spec, idempotency_key="k", caller="them")

    assert mine.id != theirs.id
    assert jobs.submit(spec, idempotency_key="k", caller="me").id == mine.id


def test_the_same_key_with_another_placement_is_a_conflict_though_the_job_was_moved(jobs, spec):
    first = jobs.submit(spec, idempotency_key="k")
    jobs.change(first.id, PlacementChange(gpus=2))

    with pytest.raises(Conflict, match="or placement"):
        jobs.submit(spec, Placement(needs=Needs(gpus=2)), idempotency_key="k")
    assert jobs.submit(spec, idempotency_key="k").id == first.id


def test_a_key_is_as_good_as_new_after_a_day(jobs, engine, spec):
    first = jobs.submit(spec, idempotency_key="k")
    with writing(engine) as session:
        yesterday = first.created_at - timedelta(hours=24, seconds=1)
        session.execute(update(JobRow).values(created_at=yesterday))

    again = jobs.submit(spec, idempotency_key="k")

    assert again.id != first.id
    assert jobs.submit(spec, idempotency_key="k").id == again.id


def test_submitting_one_key_at_once_makes_one_job(jobs, spec):
    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(lambda _: jobs.submit(spec, idempotency_key="k").id, range(16)))

    assert len(ids) == 1


def test_an_unknown_job_is_not_found(jobs):
    for look in (
        jobs.get,
        jobs.events,
        jobs.progress_lines,
        jobs.artifacts,
        jobs.cancel,
    ):
        with pytest.raises(NotFound):
            look("no-such-id")


def test_the_list_is_newest_first_in_pages_and_can_be_filtered(jobs, spec):
    ids = [jobs.submit(spec).id for _ in range(5)]
    jobs.cancel(ids[0])

    page = jobs.list(limit=2)
    assert [job.id for job in page] == [ids[4], ids[3]]
    assert [job.id for job in jobs.list(after=page[-1].id)] == [ids[2], ids[1], ids[0]]
    assert [job.id for job in jobs.list(state=JobState.CANCELLED)] == [ids[0]]
    assert jobs.list(kind="distill") == []


# A worker's side


def test_jobs_are_claimed_by_priority_then_age(jobs, spec):
    ids = [jobs.submit(spec, Placement(priority=Priority(p))).id for p in (0, 1, -1, 1)]

    claimed = [claim(jobs)[0].id for _ in ids]
    assert claimed == [ids[1], ids[3], ids[0], ids[2]]
    assert jobs.claim(Offer("worker-1", "default"), MINUTE) is None


def test_a_claim_takes_only_its_own_pool(jobs, spec):
    jobs.submit(spec, Placement("gpu"))

    assert jobs.claim(Offer("worker-1", "default"), MINUTE) is None
    assert claim(jobs, pool="gpu")[0].pool == "gpu"


def test_a_claimed_job_names_its_worker_and_lease(jobs, spec):
    jobs.submit(spec)
    job, lease = claim(jobs)

    assert (job.state, job.worker, job.attempt) == ("starting", "worker-1", 1)
    assert (lease.job_id, lease.attempt, lease.lease_token) == (job.id, 1, job.lease_token)
    remaining = job.lease_expires_at - datetime.now(UTC)
    assert timedelta(seconds=30) < remaining <= timedelta(seconds=90)


def test_workers_that_claim_at_once_never_get_the_same_job(jobs, spec):
    ids = [jobs.submit(spec).id for _ in range(24)]

    def take_all(worker):
        taken = []
        while (claimed := jobs.claim(Offer(f"worker-{worker}", "default"), MINUTE)) is not None:
            taken.append(claimed[0].id)
        return taken

    with ThreadPoolExecutor(8) as threads:
        taken = [job for jobs_of_one in threads.map(take_all, range(8)) for job in jobs_of_one]
    assert sorted(taken) == sorted(ids)


def test_a_job_whose_row_is_held_for_a_moment_is_claimed_and_not_missed(engine, jobs, spec):
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite holds no rows")
    job = jobs.submit(spec)
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with ThreadPoolExecutor(1) as threads:
        with engine.begin() as holder:
            holder.execute(update(JobRow).values(hinted_at=datetime.now(UTC)))
            claimed = threads.submit(jobs.claim, Offer("worker-1"), MINUTE)
            with engine.connect() as looker:
                while not claimed.done() and not looker.scalar(waiting):
                    looker.rollback()
        found = claimed.result()

    assert found is not None
    assert found[0].id == job.id


def test_a_run_goes_from_start_to_success_with_its_artifacts(jobs, spec):
    job, lease = running(jobs, spec)
    assert jobs.get(job.id).state is JobState.RUNNING
    assert jobs.get(job.id).started_at is not None

    done = jobs.finish(lease, Reason.COMPLETED, "ok", result={"AP": 0.5}, artifacts=[artifact(job)])

    assert (done.state, done.reason, done.result) == ("succeeded", "completed", {"AP": 0.5})
    assert (done.failures, done.lease_token, done.worker) == (0, None, None)
    assert done.finished_at is not None
    assert jobs.artifacts(job.id) == [artifact(job)]
    assert jobs.artifact(job.id, "student.pth") == artifact(job)
    assert kinds(jobs, job.id) == ["submitted", "claimed", "started", "succeeded"]
    with pytest.raises(NotFound):
        jobs.artifact(job.id, "other.pth")


def test_events_are_numbered_and_can_be_read_on(jobs, spec):
    job, _ = running(jobs, spec)

    assert [event.sequence for event in jobs.events(job.id)] == [1, 2, 3]
    later = jobs.events(job.id, after=2)
    assert [(event.kind, event.data) for event in later] == [("started", {"attempt": 1})]
    assert later[0].at.tzinfo is UTC
    assert [event.sequence for event in jobs.events(job.id, limit=2)] == [1, 2]


def test_a_stage_that_says_how_far_the_job_is_becomes_its_progress_and_another_does_not(jobs, spec):
    job, lease = running(jobs, spec)
    measured = ProgressLine(type="stage", at=AT, message="looked at 40 %", done=0.4, eta_s=9.0)
    plain = ProgressLine(type="stage", at=AT, message="drawing")

    jobs.heartbeat(lease, MINUTE, [measured, plain])

    assert jobs.get(job.id).progress["done"] == 0.4


def test_a_heartbeat_renews_the_lease_and_stores_progress(jobs, spec):
    job, lease = running(jobs, spec)
    before = jobs.get(job.id).lease_expires_at
    stage = ProgressLine(type="stage", at=AT, message="reading")
    lines = [ProgressLine(type="train", at=AT, iteration=i, losses={"cls": 0.5}) for i in (1, 2)]

    orders = jobs.heartbeat(lease, 2 * MINUTE, [*lines, stage])

    assert orders.stop is None
    after = jobs.get(job.id)
    assert after.lease_expires_at - before > timedelta(seconds=50)
    assert after.progress["iteration"] == 2
    assert jobs.progress_lines(job.id) == [(1, lines[0]), (2, lines[1]), (3, stage)]
    assert jobs.progress_lines(job.id, type="train", after=1) == [(2, lines[1])]
    assert len(jobs.progress_lines(job.id, limit=1)) == 1


def test_progress_goes_on_counting_in_the_next_attempt(jobs, spec):
    job, lease = running(jobs, spec)
    jobs.heartbeat(lease, MINUTE, [ProgressLine(type="train", at=AT)])
    jobs.finish(lease, Reason.STOPPED)
    _, lease = claim(jobs)
    jobs.heartbeat(lease, MINUTE, [ProgressLine(type="train", at=AT)])

    assert [sequence for sequence, _ in jobs.progress_lines(job.id)] == [1, 2]


def test_what_is_not_finite_leaves_a_gap_and_not_an_error(jobs, spec):
    job, lease = running(jobs, spec)
    line = ProgressLine(
        type="train", at=AT, losses={"cls": math.nan, "reg": 1.0}, grad_norm=math.inf
    )

    jobs.heartbeat(lease, MINUTE, [line])
    done = jobs.finish(lease, Reason.DIVERGED, "loss\x00 nan\ud800", result={"a": [math.nan, 1]})

    [(_, stored)] = jobs.progress_lines(job.id)
    assert (stored.losses, stored.grad_norm) == ({"reg": 1.0}, None)
    assert (done.message, done.result) == ("loss nan?", {"a": [None, 1]})


# Stale workers


def test_a_worker_that_lost_its_job_can_write_nothing(jobs, spec):
    job, stale = running(jobs, spec)
    jobs.heartbeat(stale, RUN_OUT)
    jobs.expire_leases()
    _, current = claim(jobs)

    for write in (
        lambda: jobs.started(stale),
        lambda: jobs.heartbeat(stale, MINUTE, [ProgressLine(type="train", at=AT)]),
        lambda: jobs.finish(stale, Reason.COMPLETED, artifacts=[artifact(job)]),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert jobs.progress_lines(job.id) == []
    assert jobs.artifacts(job.id) == []
    jobs.started(current)


def test_a_job_that_ended_cannot_be_finished_again(jobs, spec):
    _, lease = running(jobs, spec)
    jobs.finish(lease, Reason.OUT_OF_MEMORY)

    with pytest.raises(LeaseLost):
        jobs.finish(lease, Reason.COMPLETED)
    with pytest.raises(LeaseLost):
        jobs.heartbeat(lease, MINUTE)


def test_a_job_cannot_succeed_before_it_started(jobs, spec):
    jobs.submit(spec)
    _, lease = claim(jobs)

    with pytest.raises(IllegalMove):
        jobs.finish(lease, Reason.COMPLETED)


# Endings


@pytest.mark.parametrize(
    ("reason", "state", "failures"),
    [
        (Reason.OUT_OF_MEMORY, "failed", 1),
        (Reason.DIVERGED, "failed", 1),
        (Reason.WORKER_LOST, "queued", 1),
        (Reason.WORKER_TROUBLE, "queued", 0),
        (Reason.GPU_FAULT, "queued", 1),
        (Reason.STOPPED, "queued", 0),
        (Reason.PREEMPTED, "queued", 0),
        (Reason.PAUSED_BY_USER, "paused", 0),
        (Reason.CANCELLED_BY_USER, "cancelled", 0),
    ],
)
def test_the_reason_decides_what_follows(jobs, spec, reason, state, failures):
    _, lease = running(jobs, spec)

    ended = jobs.finish(lease, reason, "why")

    assert (ended.state, ended.failures) == (state, failures)
    assert (ended.reason, ended.message) == (reason, "why")
    assert (ended.finished_at is None) == (state in ("queued", "paused"))


def test_expired_leases_requeue_until_the_attempts_are_used_up(jobs, spec):
    job = jobs.submit(spec, max_attempts=2)

    claim(jobs, RUN_OUT)
    [requeued] = jobs.expire_leases()
    assert (requeued.state, requeued.reason, requeued.failures) == ("queued", "worker_lost", 1)

    claim(jobs, RUN_OUT)
    [failed] = jobs.expire_leases()
    assert (failed.state, failed.reason, failed.attempt) == ("failed", "worker_lost", 2)
    assert jobs.expire_leases() == []
    assert kinds(jobs, job.id) == ["submitted", "claimed", "requeued", "claimed", "failed"]


def test_a_job_that_cannot_be_ended_holds_up_no_other(jobs, engine, spec):
    broken, good = (jobs.submit(spec) for _ in range(2))
    for _ in range(2):
        claim(jobs, RUN_OUT)
    with writing(engine) as session:
        of_another_version = update(JobRow).where(JobRow.id == broken.id)
        session.execute(of_another_version.values(reason="eaten_by_mice"))

    with capture_logs() as logged:
        [ended] = jobs.expire_leases()

    assert (ended.id, ended.state) == (good.id, "queued")
    assert [(line["event"], line["row"]) for line in logged] == [("row_failed", broken.id)]


def test_a_live_lease_does_not_expire(jobs, spec):
    running(jobs, spec)

    assert jobs.expire_leases() == []


# Cancelling


def test_a_queued_job_is_cancelled_at_once(jobs, spec):
    job = jobs.cancel(jobs.submit(spec).id)

    assert (job.state, job.reason) == ("cancelled", "cancelled_by_user")
    assert jobs.claim(Offer("worker-1", "default"), MINUTE) is None


def test_a_paused_job_is_cancelled_at_once(jobs, spec):
    job, lease = running(jobs, spec)
    jobs.finish(lease, Reason.PAUSED_BY_USER)

    assert jobs.cancel(job.id).state is JobState.CANCELLED


def test_a_leased_job_is_asked_to_stop(jobs, spec):
    for start in (False, True):
        job = jobs.submit(spec)
        _, lease = claim(jobs)
        if start:
            jobs.started(lease)
        jobs.cancel(job.id)
        asked = jobs.cancel(job.id)

        assert asked.cancel_requested
        assert asked.state in ("starting", "running")
        assert kinds(jobs, job.id).count("cancel_requested") == 1
        assert jobs.heartbeat(lease, MINUTE).stop is StopRequest.CANCEL
        assert jobs.finish(lease, Reason.CANCELLED_BY_USER).state is JobState.CANCELLED


@pytest.mark.parametrize("reason", [Reason.COMPLETED, Reason.DIVERGED, Reason.CANCELLED_BY_USER])
def test_a_job_that_ended_cannot_be_cancelled(jobs, spec, reason):
    job, lease = running(jobs, spec)
    jobs.finish(lease, reason)

    with pytest.raises(IllegalMove, match="it has ended"):
        jobs.cancel(job.id)


def test_a_cancelled_job_whose_worker_died_is_not_run_again(jobs, spec):
    job, lease = running(jobs, spec)
    jobs.cancel(job.id)
    jobs.heartbeat(lease, RUN_OUT)

    [ended] = jobs.expire_leases()
    assert (ended.state, ended.reason) == ("cancelled", "cancelled_by_user")


# Hints


def test_a_queued_job_wants_a_hint_until_it_was_given(jobs, spec):
    jobs.submit(spec, Placement("a"))
    jobs.submit(spec, Placement("b"))

    assert jobs.pending_hints(again_after=MINUTE) == ["a", "b"]
    jobs.hinted("a")
    assert jobs.pending_hints(again_after=MINUTE) == ["b"]
    assert jobs.pending_hints(again_after=-MINUTE) == ["a", "b"]


def test_a_requeued_job_wants_a_hint_again(jobs, spec):
    jobs.submit(spec)
    jobs.hinted("default")
    claim(jobs, RUN_OUT)
    assert jobs.pending_hints(again_after=MINUTE) == []

    jobs.expire_leases()
    assert jobs.pending_hints(again_after=MINUTE) == ["default"]
