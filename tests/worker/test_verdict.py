from __future__ import annotations

import errno

import pytest

from pgd_core.errors import DatasetUnusable, DiskFull, NotFound, StorageUnavailable
from pgd_core.jobs.run import NO_ROOM_EXIT, STORAGE_FAULT_EXIT, Outcome
from worker import verdict
from worker.supervisor import Exit, StopCause
from worker.verdict import may_pass, verdict_of_error, verdict_of_exit


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
    (tmp_path / "progress.jsonl").touch()

    verdict = judge(tmp_path, code)
    assert verdict.reason == reason
    assert words in verdict.message


@pytest.mark.parametrize("code", [1, 2, 127, -4, -11])
def test_a_trainer_that_could_not_even_begin_is_the_machine_s_trouble(tmp_path, code):
    """A broken installation, or a processor that lacks an instruction."""
    (tmp_path / "trainer.log").write_text("ModuleNotFoundError: No module named 'torch'\n")

    verdict = judge(tmp_path, code)
    assert verdict.reason == "worker_trouble"
    assert "No module named 'torch'" in verdict.message


def test_a_trainer_that_was_killed_before_it_began_is_a_lost_one(tmp_path):
    assert judge(tmp_path, -9).reason == "worker_lost"


def test_a_trainer_whose_disk_fails_is_no_fault_of_its_job(tmp_path):
    assert judge(tmp_path, STORAGE_FAULT_EXIT).reason == "worker_trouble"


def test_a_trainer_without_room_for_its_outcome_is_tried_again(tmp_path):
    verdict = judge(tmp_path, NO_ROOM_EXIT)

    assert verdict.reason == "disk_full"
    assert f"MiB free on the disk of {tmp_path}" in verdict.message


@pytest.mark.parametrize("code", [1, -7, -9])
def test_no_outcome_where_there_is_no_room_is_a_full_disk(tmp_path, monkeypatch, code):
    monkeypatch.setattr(verdict, "free_mib", lambda _: 0.1)
    assert judge(tmp_path, code).reason == "disk_full"
    monkeypatch.setattr(verdict, "free_mib", lambda _: 100.0)
    assert judge(tmp_path, code).reason != "disk_full"


TORCHRUN_REPORT = """
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  traceback : Signal {others} received by PID 11151
------------------------------------------------------
Root Cause (first observed failure):
[0]:
  exitcode  : {code} (pid: 11152)
  traceback : {first}
"""


def test_torchrun_says_that_one_of_several_processes_was_killed(tmp_path):
    report = {"others": "15 (SIGTERM)", "code": "-9", "first": "Signal 9 (SIGKILL) received by PID"}
    (tmp_path / "trainer.log").write_text(TORCHRUN_REPORT.format(**report))
    verdict = judge(tmp_path, 1)
    assert verdict.reason == "worker_lost"
    assert "SIGKILL" in verdict.message

    (tmp_path / "alive").touch()
    report |= {"code": "1", "first": "To enable traceback see: …"}
    (tmp_path / "trainer.log").write_text(TORCHRUN_REPORT.format(**report))
    assert judge(tmp_path, 1).reason == "internal_error"


def test_half_an_outcome_is_none(tmp_path):
    (tmp_path / "outcome.json").write_text('{"status": "succ')

    assert verdict_of_exit(Exit(0, None), tmp_path).reason == "internal_error"


def test_errors_of_ours_say_why_and_others_are_the_machine_s():
    assert verdict_of_error(DatasetUnusable("no pictures")).reason == "bad_dataset"
    assert verdict_of_error(NotFound("no file")).reason == "internal_error"
    assert verdict_of_error(OSError("no such device")).reason == "worker_trouble"
    assert verdict_of_error(StorageUnavailable("no bucket")).reason == "worker_trouble"
    assert verdict_of_error(RuntimeError("can't start new thread")).reason == "worker_trouble"
    assert verdict_of_error(OSError(errno.ENOSPC, "full")).reason == "disk_full"
    assert verdict_of_error(DiskFull("full")).reason == "disk_full"


@pytest.mark.parametrize("defect", [KeyError("model"), ValueError("no"), TypeError("no")])
def test_a_defect_of_ours_uses_the_job_s_attempts_up(defect):
    """It may come with this job each time, on every machine."""
    assert verdict_of_error(defect).reason == "worker_lost"


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (StorageUnavailable("no bucket"), True),
        (OSError(errno.EROFS, "read-only"), True),
        (OSError(errno.ENOSPC, "full"), False),
        (KeyError("model"), False),
        (DatasetUnusable("no pictures"), False),
    ],
)
def test_what_may_pass_is_no_full_disk_and_no_defect(error, passes):
    assert may_pass(error) is passes
