from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pgd_core.errors import IllegalMove
from pgd_core.jobs.job import (
    ENDINGS,
    FINAL_STATES,
    MOVES,
    Job,
    JobState,
    Reason,
    StopRequest,
    aftermath,
    check_move,
)
from pgd_core.jobs.machine import Priority

RUNNING = Job(
    id="1",
    kind="train",
    name="",
    spec={},
    spec_sha256="",
    state=JobState.RUNNING,
    reason=None,
    message="",
    pool="default",
    team="default",
    priority=Priority.NORMAL,
    gpus=1,
    min_memory_mb=0,
    attempt=1,
    failures=0,
    max_attempts=3,
    stop_requested=None,
    worker="w",
    slots=(0,),
    gpu_s=0.0,
    lease_token="t",
    progress={},
    result={},
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    started_at=None,
    claimed_at=None,
    finished_at=None,
)


@pytest.mark.parametrize("old", JobState)
@pytest.mark.parametrize("new", JobState)
def test_a_move_is_allowed_exactly_when_the_table_says_so(old, new):
    if new in MOVES[old]:
        check_move(old, new)
    else:
        with pytest.raises(IllegalMove, match=f"that is {old} cannot become {new}"):
            check_move(old, new)


def test_the_final_states_are_those_without_a_way_out():
    assert {"succeeded", "failed", "cancelled"} == FINAL_STATES


def test_every_reason_has_an_ending_that_a_running_job_can_take():
    assert set(ENDINGS) == set(Reason)
    for ending in ENDINGS.values():
        check_move(JobState.RUNNING, ending.state)


def test_a_starting_job_can_end_for_every_reason_but_success():
    for reason in set(Reason) - {Reason.COMPLETED}:
        aftermath(replace(RUNNING, state=JobState.STARTING), reason)


def test_a_lost_worker_is_forgiven_until_the_last_attempt():
    states = [
        aftermath(replace(RUNNING, failures=failures), Reason.WORKER_LOST).state
        for failures in range(3)
    ]
    assert states == ["queued", "queued", "failed"]


def test_a_stop_uses_no_attempt_up():
    after = aftermath(replace(RUNNING, failures=2), Reason.STOPPED)
    assert (after.state, after.failures) == ("queued", 2)


def test_a_worker_s_trouble_uses_no_attempt_up_however_often_it_comes():
    after = aftermath(replace(RUNNING, failures=2, attempt=100), Reason.WORKER_TROUBLE)
    assert (after.state, after.failures) == ("queued", 2)


def test_a_machine_rests_after_what_may_be_its_own_fault():
    rests = {reason for reason, ending in ENDINGS.items() if ending.worker_rests}
    assert rests == {"worker_trouble", "gpu_fault", "disk_full"}


def test_a_cancelled_job_is_never_queued_again():
    job = replace(RUNNING, stop_requested=StopRequest.CANCEL)
    for reason in (Reason.STOPPED, Reason.WORKER_LOST, Reason.PREEMPTED, Reason.PAUSED_BY_USER):
        after = aftermath(job, reason)
        assert (after.state, after.reason) == ("cancelled", "cancelled_by_user")


def test_a_job_that_was_done_before_the_cancel_arrived_has_succeeded():
    job = replace(RUNNING, stop_requested=StopRequest.CANCEL)
    assert aftermath(job, Reason.COMPLETED).state is JobState.SUCCEEDED


def test_a_job_that_waits_or_has_ended_cannot_end_an_attempt():
    for state in FINAL_STATES | {JobState.QUEUED}:
        with pytest.raises(IllegalMove):
            aftermath(replace(RUNNING, state=state), Reason.WORKER_LOST)
