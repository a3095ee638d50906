from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from tests.worker.conftest import wait_for
from worker.processes import (
    SUPERVISOR,
    end_earlier,
    end_members,
    end_orphans,
    marks,
    members,
    orphans,
)

SLEEP = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"


@pytest.fixture
def marker(tmp_path):
    marker = f"test/{tmp_path}"
    yield marker
    end_members(marker, gently_s=0)


def start(code, variables, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | variables, start_new_session=True, **options
    )


def test_members_are_found_by_their_marker_and_ended(marker):
    process = start(SLEEP, marks(marker))
    wait_for(lambda: [member.pid for member in members(marker)] == [process.pid])

    assert end_members(marker) == []
    assert process.wait() == -15
    assert members(marker) == []


def test_members_are_found_by_their_session_when_they_shed_the_marker(marker):
    process = start(SLEEP, {})

    assert [member.pid for member in members(marker, process.pid)] == [process.pid]
    end_members(marker, process.pid)
    assert process.wait() == -15


def test_who_is_deaf_to_sigterm_is_killed(marker):
    process = start(DEAF, marks(marker), stdout=subprocess.PIPE)
    process.stdout.readline()

    assert end_members(marker, gently_s=0.1) == []
    assert process.wait() == -9
    process.stdout.close()


def test_a_process_whose_supervisor_lives_is_no_orphan(marker):
    process = start(SLEEP, marks(marker))

    assert process.pid not in [orphan.pid for orphan in orphans()]
    end_members(marker)
    process.wait()


def test_what_a_dead_supervisor_left_is_swept(marker):
    supervise = f"""
import os, subprocess, sys
from worker.processes import marks
child = [sys.executable, "-c", {SLEEP!r}]
variables = os.environ | marks({marker!r})
print(subprocess.Popen(child, env=variables, stdout=subprocess.DEVNULL).pid, flush=True)
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", supervise], stdout=subprocess.PIPE, text=True, check=True
    )
    left = int(done.stdout)
    wait_for(lambda: members(marker))

    assert left in end_orphans()
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == "zombie"


def test_the_processes_of_another_container_are_left_alone(marker):
    variables = marks(marker) | {SUPERVISOR: "pid:[1]/1/1"}
    process = start(SLEEP, variables)
    wait_for(lambda: members(marker))

    assert process.pid not in [orphan.pid for orphan in orphans()]
    end_members(marker)
    process.wait()


def test_of_a_job_s_attempts_the_earlier_are_ended_and_no_other_job_s(tmp_path):
    job = f"job{tmp_path}".replace("/", "-")
    markers = [f"{job}/9", f"{job}/10", f"{job}0/1"]
    first, second, other = [start(SLEEP, marks(marker)) for marker in markers]
    wait_for(lambda: all(members(marker) for marker in markers))

    assert end_earlier(job, 10) == [first.pid]
    assert first.wait() == -9
    assert [process.poll() for process in (second, other)] == [None, None]
    assert end_earlier(job, 10) == []
    for process in (second, other):
        process.kill()
        process.wait()
