from __future__ import annotations

import pytest

from pgd_core.errors import DatasetUnusable, NotFound
from pgd_core.jobs.run import Outcome
from worker.supervisor import Exit, StopCause
from worker.verdict import verdict_of_error, verdict_of_exit


def judge(folder, code, cause=None, outcome=None):
    if outcome is not None:
        status, reason = outcome
        content = Outcome(status=status, reason=reason, message="said so")
        (folder / "outcome.json").write_text(content.model_dump_json())
    return verdict_of_exit(Exit(code, cause), folder)


@pytest.mark.parametrize(
    ("cause", "outcome", "reason"),
    [
        (None, ("succeeded", "completed"), "completed"),
        (None, ("failed", "out_of_memory"), "out_of_memory"),
        (None, ("failed", "of a later version"), "internal_error"),
        (None, ("stopped", "stopped"), "stopped"),  # by the system's shutdown, which knows it
        (StopCause.CANCEL, ("stopped", "stopped"), "cancelled_by_user"),
        (StopCause.CANCEL, ("failed", "internal_error"), "cancelled_by_user"),
        (StopCause.CANCEL, ("succeeded", "completed"), "completed"),
        (StopCause.CANCEL, None, "cancelled_by_user"),
        (StopCause.SHUTDOWN, ("stopped", "stopped"), "stopped"),
        (StopCause.SHUTDOWN, ("failed", "diverged"), "diverged"),
        (StopCause.SHUTDOWN, None, "stopped"),
        (StopCause.PAUSE, ("stopped", "stopped"), "paused_by_user"),
        (StopCause.PAUSE, ("failed", "diverged"), "diverged"),
        (StopCause.PREEMPT, ("stopped", "stopped"), "preempted"),
        (StopCause.PREEMPT, None, "preempted"),
        (StopCause.MAX_DURATION, ("stopped", "stopped"), "max_duration"),
        (StopCause.MAX_DURATION, None, "max_duration"),
    ],
)
def test_a_trainer_that_spoke_or_was_asked(tmp_path, cause, outcome, reason):
    assert judge(tmp_path, -9 if outcome is None else 0, cause, outcome).reason == reason


@pytest.mark.parametrize(
    ("left", "words"), [((), "none of its processes is left"), ((7, 8), "processes 7, 8 survive")]
)
def test_it_is_told_whether_anything_of_a_stopped_trainer_is_left(tmp_path, left, words):
    ended = Exit(-9, StopCause.CANCEL, left)

    assert words in verdict_of_exit(ended, tmp_path).message


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (-9, "worker_lost", "SIGKILL; the machine may be out of memory"),
        (-11, "worker_lost", "SIGSEGV"),
        (1, "internal_error", "last words"),
        (0, "internal_error", "code 0 and no outcome"),
    ],
)
def test_a_trainer_that_ended_without_a_word(tmp_path, code, reason, words):
    (tmp_path / "trainer.log").write_text("many\nlast words\n")

    verdict = judge(tmp_path, code)
    assert verdict.reason == reason
    assert words in verdict.message


def test_half_an_outcome_is_none(tmp_path):
    (tmp_path / "outcome.json").write_text('{"status": "succ')

    assert verdict_of_exit(Exit(0, None), tmp_path).reason == "internal_error"


def test_errors_of_ours_say_why_and_others_are_tried_again():
    assert verdict_of_error(DatasetUnusable("no pictures")).reason == "bad_dataset"
    assert verdict_of_error(NotFound("no file")).reason == "internal_error"
    assert verdict_of_error(OSError("disk full")).reason == "worker_lost"
