from __future__ import annotations

import threading
import time

import pytest

from pgd_core.errors import LeaseLost
from pgd_core.jobs.job import Claim, StopRequest
from pgd_core.jobs.protocols import Orders
from pgd_core.jobs.run import ProgressLine
from tests.worker.conftest import wait_for
from worker.lease import LeaseKeeper

CLAIM = Claim("job", 1, "token")
LINE = ProgressLine(type="stage", at="2026-01-01T00:00:00Z", message="reading")


class Heartbeats:
    """Answers as it is told: with orders, or with an error."""

    def __init__(self, *answers):
        self.answers, self.lines, self.count = list(answers), [], 0

    def heartbeat(self, _claim, _lease, lines):
        self.count += 1
        answer = self.answers.pop(0) if self.answers else Orders()
        if isinstance(answer, Exception):
            raise answer
        self.lines.extend(lines)
        return answer


def keeper(jobs, *, lease_s=60.0, claimed_ago_s=0.0):
    claimed_at = time.monotonic() - claimed_ago_s
    return LeaseKeeper(jobs, CLAIM, claimed_at=claimed_at, lease_s=lease_s, heartbeat_s=0.01)


def test_the_lease_is_renewed_again_and_again_while_it_is_held():
    jobs = Heartbeats()
    with keeper(jobs) as lease:
        wait_for(lambda: jobs.count >= 3)
        assert not lease.lost
    count = jobs.count
    assert threading.active_count() == 1 or not lease._thread.is_alive()
    assert jobs.count == count


def test_a_refusal_loses_the_lease_at_once():
    with keeper(Heartbeats(LeaseLost("gone"))) as lease:
        wait_for(lambda: lease.lost)


def test_a_request_to_cancel_is_remembered():
    with keeper(Heartbeats(Orders(StopRequest.CANCEL), Orders())) as lease:
        wait_for(lambda: lease.stop_requested)
        lease.renew()
        assert lease.stop_requested


def test_a_lease_that_was_never_renewed_is_lost_before_it_runs_out():
    jobs = Heartbeats(*[OSError("down")] * 1000)

    assert not keeper(jobs, lease_s=60, claimed_ago_s=47).lost
    assert keeper(jobs, lease_s=60, claimed_ago_s=49).lost


def test_lines_go_out_once_with_the_first_heartbeat_that_succeeds():
    jobs = Heartbeats(OSError("down"), OSError("down"))
    lease = keeper(jobs)
    lease.add([LINE])
    with lease:
        wait_for(lambda: jobs.lines)
    lease.renew()
    assert jobs.lines == [LINE]


def test_lines_can_be_added_while_a_heartbeat_hangs():
    entered, let_go = threading.Event(), threading.Event()

    class Hanging(Heartbeats):
        def heartbeat(self, *arguments):
            entered.set()
            let_go.wait()
            return super().heartbeat(*arguments)

    jobs = Hanging()
    with keeper(jobs) as lease:
        entered.wait()
        lease.add([LINE])
        assert jobs.lines == []
        let_go.set()
        wait_for(lambda: jobs.lines == [LINE])


def test_a_refusal_reaches_whoever_renews():
    with pytest.raises(LeaseLost):
        keeper(Heartbeats(LeaseLost("gone"))).renew()
