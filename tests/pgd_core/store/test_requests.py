"""What people ask of jobs: pause, resume, retry, change, and the limits of their team."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from pgd_core.errors import IllegalMove, NotFound, QuotaExceeded
from pgd_core.jobs.job import JobState, Reason, StopRequest
from pgd_core.jobs.machine import Device, Needs, Offer, Placement, PlacementChange, Priority
from pgd_core.jobs.spec import StudyJob
from pgd_core.store import SqlStudyStore, SqlTeamStore

MINUTE = timedelta(minutes=1)
FOUR = tuple(Device(slot, "H100", f"GPU-{slot}", 80_000) for slot in range(4))


@pytest.fixture
def teams(engine):
    return SqlTeamStore(engine)


@pytest.fixture
def studies(engine):
    return SqlStudyStore(engine)


@pytest.fixture
def study_spec():
    student = {"name": "resnet18"}
    teachers = {"fcos": "a teacher"}
    return StudyJob.model_validate(
        {"kind": "study", "dataset": "d", "teachers": teachers, "student": student}
    )


def limited(teams, name="vision", **limits):
    none = {"max_running_gpus": None, "max_queued_jobs": None}
    teams.put(name, weight=1, **(none | limits))
    return name


def claim(jobs, free=FOUR):
    taken = jobs.claim(Offer("worker-1", "default", free), MINUTE)
    assert taken is not None
    return taken


def running(jobs, spec, **options):
    job = jobs.submit(spec, **options)
    _, lease = claim(jobs)
    jobs.started(lease)
    return job, lease


def in_state(jobs, spec, state):
    """The id of a job in this state."""
    if state is JobState.QUEUED:
        return jobs.submit(spec).id
    if state is JobState.PAUSED:
        return jobs.pause(jobs.submit(spec).id).id
    if state is JobState.STARTING:
        jobs.submit(spec)
        return claim(jobs)[0].id
    job, lease = running(jobs, spec)
    endings = {
        JobState.SUCCEEDED: Reason.COMPLETED,
        JobState.FAILED: Reason.DIVERGED,
        JobState.CANCELLED: Reason.CANCELLED_BY_USER,
    }
    if state in endings:
        jobs.finish(lease, endings[state])
    return job.id


def told(jobs, job_id):
    return [(event.kind, event.by) for event in jobs.events(job_id)]


# Each state and each request

ASKED = {
    "pause": {
        JobState.QUEUED: JobState.PAUSED,
        JobState.STARTING: JobState.STARTING,
        JobState.RUNNING: JobState.RUNNING,
    },
    "resume": {JobState.PAUSED: JobState.QUEUED},
    "retry": {JobState.FAILED: JobState.QUEUED, JobState.CANCELLED: JobState.QUEUED},
    "cancel": {
        JobState.QUEUED: JobState.CANCELLED,
        JobState.PAUSED: JobState.CANCELLED,
        JobState.STARTING: JobState.STARTING,
        JobState.RUNNING: JobState.RUNNING,
    },
}


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("request_", list(ASKED))
def test_each_request_moves_a_job_as_its_state_allows_or_is_refused_and_changes_nothing(
    jobs, spec, request_, state
):
    job_id = in_state(jobs, spec, state)
    before, events = jobs.get(job_id), told(jobs, job_id)
    assert before.state is state
    ask = getattr(jobs, request_)

    if state not in ASKED[request_]:
        with pytest.raises(IllegalMove, match=str(state)):
            ask(job_id, by="mira")
        assert jobs.get(job_id) == before
        assert told(jobs, job_id) == events
        return

    after = ask(job_id, by="mira")

    assert after == jobs.get(job_id)
    assert after.state is ASKED[request_][state]
    assert told(jobs, job_id)[:-1] == events
    assert told(jobs, job_id)[-1][1] == "mira"


@pytest.mark.parametrize("request_", [*ASKED, "change"])
def test_a_job_that_does_not_exist_is_not_found(jobs, request_):
    rest = (PlacementChange(gpus=2),) if request_ == "change" else ()

    with pytest.raises(NotFound, match="no job none"):
        getattr(jobs, request_)("none", *rest)


# Pause and resume


def test_a_paused_job_is_not_claimed_until_it_is_resumed_in_its_old_place(jobs, spec):
    first, second = jobs.submit(spec).id, jobs.submit(spec).id

    paused = jobs.pause(first, by="mira")
    assert (paused.state, paused.reason) == ("paused", Reason.PAUSED_BY_USER)
    jobs.hinted("default")
    jobs.resume(first, by="mira")

    assert jobs.pending_hints(again_after=timedelta(hours=1)) == ["default"]
    assert [claim(jobs)[0].id, claim(jobs)[0].id] == [first, second]
    assert told(jobs, first)[:3] == [("submitted", ""), ("paused", "mira"), ("resumed", "mira")]


def test_a_running_job_is_paused_once_its_worker_has_stopped_and_loses_no_attempt(jobs, spec):
    job, lease = running(jobs, spec)

    asked = jobs.pause(job.id, by="mira")
    assert (asked.state, asked.stop_requested) == ("running", StopRequest.PAUSE)
    assert jobs.heartbeat(lease, MINUTE).stop is StopRequest.PAUSE
    paused = jobs.finish(lease, Reason.PAUSED_BY_USER)

    assert (paused.state, paused.failures, paused.stop_requested) == ("paused", 0, None)
    assert (paused.worker, paused.slots) == (None, ())
    jobs.resume(job.id)
    again, _ = claim(jobs)
    assert (again.id, again.attempt) == (job.id, 2)


def test_asking_twice_to_pause_is_told_once(jobs, spec):
    job, _ = running(jobs, spec)

    jobs.pause(job.id)
    jobs.pause(job.id)

    assert [kind for kind, _ in told(jobs, job.id)].count("pause_requested") == 1


def test_a_cancel_outdoes_a_pause_and_a_pause_does_not_outdo_a_cancel(jobs, spec):
    job, lease = running(jobs, spec)
    jobs.pause(job.id)

    assert jobs.cancel(job.id).stop_requested is StopRequest.CANCEL
    assert jobs.pause(job.id).stop_requested is StopRequest.CANCEL

    assert jobs.finish(lease, Reason.PAUSED_BY_USER).state == "cancelled"


def test_a_job_that_is_to_pause_and_loses_its_worker_is_paused(jobs, spec):
    job, lease = running(jobs, spec)
    jobs.pause(job.id)

    lost = jobs.finish(lease, Reason.WORKER_LOST)

    assert (lost.state, lost.reason, lost.failures) == ("paused", Reason.PAUSED_BY_USER, 1)


def test_a_study_is_never_paused_as_its_jobs_can_be(jobs, study_spec):
    study = jobs.submit(study_spec)

    with pytest.raises(IllegalMove, match="its jobs can"):
        jobs.pause(study.id)


# Retry


def test_a_failed_job_is_tried_again_with_all_its_attempts(jobs, spec):
    job, lease = running(jobs, spec, max_attempts=1)
    assert jobs.finish(lease, Reason.WORKER_LOST, "the worker broke").state == "failed"

    again = jobs.retry(job.id, by="mira")

    assert (again.state, again.failures, again.finished_at) == ("queued", 0, None)
    assert jobs.events(job.id)[-1].data == {"after": "worker_lost", "goes_on_from_attempt": 1}
    taken, second = claim(jobs)
    assert (taken.id, taken.attempt) == (job.id, 2)
    jobs.started(second)
    assert jobs.finish(second, Reason.COMPLETED).state == "succeeded"


def test_a_job_that_was_cancelled_while_it_ran_is_tried_again_without_the_old_request(jobs, spec):
    job, lease = running(jobs, spec)
    jobs.cancel(job.id)
    jobs.finish(lease, Reason.CANCELLED_BY_USER)

    assert jobs.retry(job.id).stop_requested is None
    assert jobs.events(job.id)[-1].data == {"after": "cancelled_by_user"}
    _, second = claim(jobs)
    assert jobs.heartbeat(second, MINUTE).stop is None


def test_a_retry_counts_in_its_teams_queue(jobs, teams, spec):
    team = limited(teams, max_queued_jobs=1)
    failed = jobs.submit(spec, Placement(team=team))
    jobs.cancel(failed.id)
    jobs.submit(spec, Placement(team=team))

    with pytest.raises(QuotaExceeded, match="has 1 jobs waiting, and may have 1"):
        jobs.retry(failed.id)
    assert jobs.get(failed.id).state == "cancelled"


def test_a_retried_study_asks_anew_for_what_failed_and_keeps_what_succeeded(
    jobs, studies, study_spec, spec
):
    study = jobs.submit(study_spec)
    studies.begin(study.id)
    good = studies.adopt(study.id, "good", spec)
    bad = studies.adopt(study.id, "bad", spec.model_copy(update={"name": "other"}))
    _, lease = claim(jobs)
    jobs.started(lease)
    jobs.finish(lease, Reason.COMPLETED)
    jobs.cancel(bad.id)
    studies.end(study.id, Reason.CHILDREN_FAILED)

    again = jobs.retry(study.id)

    assert again.state == "queued"
    assert {key: job.id for key, job in studies.children(study.id).items()} == {"good": good.id}
    assert studies.begin(study.id).state == "running"
    asked = studies.adopt(study.id, "bad", spec.model_copy(update={"name": "other"}))
    assert asked.id != bad.id


# Change


def test_a_waiting_job_is_moved_anywhere_and_the_history_says_from_where(jobs, teams, spec):
    team = limited(teams)
    job = jobs.submit(spec)

    jobs.change(job.id, PlacementChange("big", team, Priority.HIGH, 2, 40_000), by="mira")

    moved = jobs.get(job.id)
    assert moved.placement == Placement("big", team, Priority.HIGH, Needs(2, 40_000))
    event = jobs.events(job.id)[-1]
    assert (event.kind, event.by) == ("changed", "mira")
    assert event.data["pool"] == {"from": "default", "to": "big"}
    assert set(event.data) == {"pool", "team", "priority", "gpus", "min_memory_mb"}
    assert jobs.claim(Offer("worker-1", "default", FOUR), MINUTE) is None
    assert jobs.claim(Offer("worker-2", "big", FOUR), MINUTE) is not None


def test_what_is_not_named_stays_whoever_changed_it_meanwhile(jobs, spec):
    job = jobs.submit(spec)
    changes = [PlacementChange(priority=Priority.HIGH), PlacementChange(pool="big")]
    changes += [PlacementChange(gpus=2), PlacementChange(min_memory_mb=5)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda change: jobs.change(job.id, change), changes))

    assert jobs.get(job.id).placement == Placement("big", "default", Priority.HIGH, Needs(2, 5))


def test_a_change_to_what_is_already_so_leaves_no_line(jobs, spec):
    job = jobs.submit(spec)

    assert jobs.change(job.id, PlacementChange(pool="default", gpus=1)) == job
    assert len(jobs.events(job.id)) == 1


def test_a_changed_job_is_due_for_a_hint_in_its_new_pool(jobs, spec):
    job = jobs.submit(spec)
    jobs.hinted("default")

    jobs.change(job.id, PlacementChange(pool="big"))

    assert jobs.pending_hints(again_after=timedelta(hours=1)) == ["big"]


@pytest.mark.parametrize("state", [JobState.STARTING, JobState.RUNNING])
def test_of_a_running_job_only_the_class_is_changed(jobs, spec, state):
    job_id = in_state(jobs, spec, state)

    changed = jobs.change(job_id, PlacementChange(priority=Priority.HIGH))
    assert (changed.state, changed.priority) == (state, Priority.HIGH)

    for change in (
        PlacementChange(pool="big"),
        PlacementChange(gpus=2),
        PlacementChange(priority=Priority.LOW, min_memory_mb=5),
    ):
        with pytest.raises(IllegalMove, match="pause it first"):
            jobs.change(job_id, change)
    assert jobs.get(job_id) == changed


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_of_a_job_that_ended_nothing_is_changed(jobs, spec, state):
    job_id = in_state(jobs, spec, state)

    with pytest.raises(IllegalMove, match="nothing"):
        jobs.change(job_id, PlacementChange(priority=Priority.HIGH))


def test_a_change_keeps_to_the_limits_of_the_team(jobs, teams, spec):
    small = limited(teams, "small", max_running_gpus=1)
    full = limited(teams, "full", max_queued_jobs=1)
    jobs.submit(spec, Placement(team=full))
    job = jobs.submit(spec, Placement(team=small))

    with pytest.raises(QuotaExceeded, match="may run 1 GPUs at once"):
        jobs.change(job.id, PlacementChange(gpus=2))
    with pytest.raises(QuotaExceeded, match="1 jobs waiting"):
        jobs.change(job.id, PlacementChange(team=full))
    with pytest.raises(NotFound, match="no team 'none'; there are default, full, small"):
        jobs.change(job.id, PlacementChange(team="none"))
    assert jobs.get(job.id) == job


# Limits of a team


def test_jobs_that_wait_or_are_paused_fill_a_teams_queue_and_those_that_run_do_not(
    jobs, teams, spec
):
    place = Placement(team=limited(teams, max_queued_jobs=2))
    paused = jobs.submit(spec, place)
    jobs.pause(paused.id)
    jobs.submit(spec, place)

    with pytest.raises(QuotaExceeded, match="wait until one starts, or cancel one"):
        jobs.submit(spec, place)
    assert jobs.submit(spec).team == "default"
    claimed = claim(jobs)[0]
    assert claimed.team == "vision"
    assert jobs.submit(spec, place).state == "queued"
    assert len(jobs.list(team="vision")) == 3


def test_a_job_that_asks_for_more_than_its_team_may_ever_run_is_refused(jobs, teams, spec):
    team = limited(teams, max_running_gpus=2)

    with pytest.raises(QuotaExceeded, match=r"may run 2 GPUs at once.*asks for 3"):
        jobs.submit(spec, Placement(team=team, needs=Needs(3)))


def test_an_unknown_team_is_not_found_and_those_that_exist_are_named(jobs, teams, spec):
    limited(teams)

    with pytest.raises(NotFound, match="no team 'none'; there are default, vision"):
        jobs.submit(spec, Placement(team="none"))


def test_a_full_queue_still_answers_a_repeated_submit_with_the_first_job(jobs, teams, spec):
    place = Placement(team=limited(teams, max_queued_jobs=1))
    first = jobs.submit(spec, place, idempotency_key="k")

    assert jobs.submit(spec, place, idempotency_key="k").id == first.id


def test_many_who_submit_at_once_do_not_exceed_the_limit(jobs, teams, spec):
    place = Placement(team=limited(teams, max_queued_jobs=3))

    def submit(_):
        try:
            return jobs.submit(spec, place).id
        except QuotaExceeded:
            return None

    with ThreadPoolExecutor(8) as threads:
        taken = [job for job in threads.map(submit, range(16)) if job is not None]

    assert len(taken) == len(jobs.list(team="vision")) == 3


def test_a_team_that_is_made_by_several_at_once_is_made_once(teams):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: limited(teams), range(8)))

    assert [team.name for team in teams.teams()] == ["default", "vision"]
