"""Teams, and the GPU time that is charged to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from pgd_core.errors import NotFound
from pgd_core.jobs.job import Reason
from pgd_core.store.engine import reading
from pgd_core.store.teams import team_uses

DAY = timedelta(days=1)


def uses(cluster):
    with reading(cluster.engine) as session:
        return team_uses(session, DAY)


def test_there_is_always_the_default_team(cluster):
    [team] = cluster.teams.teams()

    assert (team.name, team.weight, team.max_running_gpus) == ("default", 1, None)


def test_a_team_is_made_and_changed_and_keeps_what_it_used(cluster):
    cluster.team("a", 2.0, running=4, queued=9)
    cluster.worker("w")
    cluster.submit("a")
    cluster.run_for("w", hours=1)

    changed = cluster.teams.put("a", weight=3, max_running_gpus=None, max_queued_jobs=1)

    assert (changed.weight, changed.max_running_gpus, changed.max_queued_jobs) == (3, None, 1)
    assert changed.used_gpu_s == pytest.approx(3600, abs=60)
    assert [team.name for team in cluster.teams.teams()] == ["a", "default"]


def test_an_unknown_team_has_no_jobs(cluster):
    with pytest.raises(NotFound, match="no team 'nobody'; there are default"):
        cluster.submit("nobody")


def test_a_team_is_charged_for_each_gpu_of_each_attempt(cluster):
    cluster.team("a")
    cluster.worker("w", 3)
    id = cluster.submit("a", gpus=3)
    for hours, reason in ((1, Reason.STOPPED), (2, Reason.COMPLETED)):
        claim = cluster.run("w")
        cluster.pass_time(hours)
        cluster.jobs.finish(claim, reason)

    assert cluster.jobs.get(id).gpu_s == pytest.approx(9 * 3600, abs=60)
    # The first attempt's three hours have decayed for two hours.
    expected = 3 * 3600 * 2 ** (-2 / 24) + 6 * 3600
    assert uses(cluster)["a"].used_gpu_s == pytest.approx(expected, abs=60)
    assert uses(cluster)["default"].used_gpu_s == 0


def test_what_runs_is_counted_before_it_ends_and_not_twice_after(cluster):
    cluster.team("a")
    cluster.worker("w", 2)
    cluster.submit("a", gpus=2)
    claim = cluster.run("w")
    cluster.pass_time(hours=1)

    before = uses(cluster)["a"]
    cluster.jobs.finish(claim, Reason.COMPLETED)
    after = uses(cluster)["a"]

    assert (before.running_gpus, after.running_gpus) == (2, 0)
    assert before.used_gpu_s == pytest.approx(7200, abs=60)
    assert after.used_gpu_s == pytest.approx(before.used_gpu_s, abs=60)


def test_used_time_halves_in_the_database_too(cluster):
    cluster.team("a")
    cluster.worker("w")
    cluster.submit("a")
    cluster.run_for("w", hours=4)
    cluster.pass_time(hours=24)

    assert uses(cluster)["a"].used_gpu_s == pytest.approx(2 * 3600, abs=60)


def test_jobs_that_end_at_once_are_all_charged(cluster):
    cluster.team("a")
    cluster.worker("w", 8)
    for _ in range(8):
        cluster.submit("a")
    claims = [cluster.run("w") for _ in range(8)]
    cluster.pass_time(hours=1)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda claim: cluster.jobs.finish(claim, Reason.COMPLETED), claims))

    assert uses(cluster)["a"].used_gpu_s == pytest.approx(8 * 3600, abs=300)


def test_the_limit_of_running_gpus_is_of_all_pools_together(cluster):
    cluster.team("a", running=1)
    cluster.worker("w")
    cluster.worker("x", pool="other")
    cluster.submit("a")
    cluster.submit("a", pool="other")
    cluster.run("w")

    assert cluster.claim("x", pool="other") is None


def test_a_teams_jobs_that_wait_or_are_paused_are_counted(cluster):
    cluster.team("a")
    first, second = cluster.submit("a"), cluster.submit("a")
    cluster.submit()
    cluster.jobs.pause(first)
    assert cluster.teams.waiting_jobs("a") == 2

    cluster.jobs.cancel(second)

    assert (cluster.teams.waiting_jobs("a"), cluster.teams.waiting_jobs("none")) == (1, 0)
