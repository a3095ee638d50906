"""Redis and PostgreSQL go away and come back, and connections break in the middle of things."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import threading
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from sqlalchemy import make_url

from tests.end_to_end.faults.service import Service, wait_for
from tests.end_to_end.faults.trainer import Plan
from tests.end_to_end.faults.verdict import check, story
from tests.servers import PostgresServer

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("database", ["postgres"], indirect=True)
LASTING = Plan(steps=60, step_s=0.03)
JOB_ROW = "SELECT 1 FROM jobs FOR UPDATE"
TEAM_ROW = "SELECT 1 FROM teams FOR UPDATE"
CLAIMS = "SELECT pg_advisory_xact_lock(7407316)"


# Redis


@on_sqlite
def test_a_flushed_redis_loses_no_job(service: Service) -> None:
    service.reconciler()
    running = service.submit(LASTING)
    waiting = [service.submit(Plan(tag=tag)) for tag in (1, 2)]
    service.worker()
    service.until_step(running, 3)
    service.flush_redis()

    for job in (running, *waiting):
        check(service, job, attempts=1)


@on_sqlite
def test_jobs_are_submitted_and_done_while_redis_is_away_and_after_it_came_back_empty(
    service: Service,
) -> None:
    service.reconciler()
    service.api()
    worker = service.worker()
    running = service.submit(LASTING)
    service.until_step(running, 3)
    service.stop_redis()
    meanwhile = submit_over_http(service, "key", Plan(tag=1))
    assert meanwhile.status_code == 202
    job = service.jobs.get(meanwhile.json()["id"])
    check(service, running, attempts=1)
    check(service, job, attempts=1)

    service.start_redis()
    wait_for(lambda: "pgd.default" in worker_queues(service))
    check(service, service.submit(Plan(tag=2)), attempts=1)
    assert worker.stop() == 0


def submit_over_http(service: Service, key: str, plan: Plan) -> httpx.Response:
    return httpx.post(
        f"{service.url}/v1/jobs",
        json=service.spec(plan).model_dump(mode="json"),
        headers={"Idempotency-Key": key},
        trust_env=False,
        timeout=60,
    )


def worker_queues(service: Service) -> set[str]:
    """What the workers listen to, in the Redis that runs now."""
    import redis

    with redis.Redis(unix_socket_path=str(service.redis.socket)) as client:
        return {
            key.decode().removeprefix("_kombu.binding.") for key in client.keys("_kombu.binding.*")
        }


# PostgreSQL


@on_postgres
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("moment", ["step", "before-put", "before-finish"])
def test_a_training_outlives_a_restart_of_the_database(
    service: Service, postgres: PostgresServer, moment: str, how: signal.Signals
) -> None:
    service.gates.close(moment)
    service.reconciler()
    worker = service.worker()
    job = service.submit()
    wait_for(lambda: service.gates.reached(moment))
    postgres.stop(how)
    service.gates.open(moment)
    wait_for(lambda: worker.said("lease_not_renewed"))
    postgres.start()

    check(service, job, attempts=1)
    assert story(service, job) == ["submitted", "claimed", "started", "succeeded"]


@contextlib.contextmanager
def locked(service: Service, statement: str) -> Iterator[None]:
    """Whoever wants the same has to wait, in the middle of a transaction."""
    with psycopg.connect(service.database_url) as connection:
        connection.execute(statement.encode())
        yield


def blocked(service: Service) -> list[int]:
    """Server processes whose transaction waits for a lock."""
    query = (
        b"SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        b"AND datname = current_database()"
    )
    with psycopg.connect(service.database_url) as connection:
        return [pid for (pid,) in connection.execute(query)]


def break_off(service: Service) -> None:
    """Every connection that waits within a transaction is gone."""
    for pid in wait_for(lambda: blocked(service)):
        with psycopg.connect(service.database_url) as connection:
            connection.execute(b"SELECT pg_terminate_backend(%s)", (pid,))


@on_postgres
def test_a_connection_that_breaks_while_claiming_leaves_the_job_to_be_claimed(
    service: Service,
) -> None:
    service.worker()
    with locked(service, CLAIMS):
        job = service.submit()
        break_off(service)

    check(service, job, attempts=1)


@on_postgres
@pytest.mark.parametrize("moment", ["before-started", "step", "before-finish"])
def test_a_connection_that_breaks_within_a_worker_s_transaction_costs_no_more_than_an_attempt(
    service: Service, moment: str
) -> None:
    service.gates.close(moment)
    worker = service.worker()
    job = service.submit()
    wait_for(lambda: service.gates.reached(moment))
    with locked(service, JOB_ROW):
        service.gates.open(moment)
        break_off(service)
        wait_for(lambda: worker.said("lease_not_renewed") or worker.said("attempt_broke"))

    # Whether it was told that the trainer was starting is not known: it is started anew.
    ended = check(service, job, attempts=None if moment == "before-started" else 1)
    assert ended.attempt <= 2


@on_postgres
@pytest.mark.parametrize("breaks", ["connection", "api"])
def test_a_submission_that_breaks_in_its_transaction_is_nothing_and_with_its_key_one_job(
    service: Service, breaks: str
) -> None:
    api = service.api()
    answers: list[object] = []

    def submit() -> None:
        try:
            answers.append(submit_over_http(service, "key", Plan()).status_code)
        except httpx.HTTPError as error:
            answers.append(error)

    with locked(service, TEAM_ROW):
        thread = threading.Thread(target=submit)
        thread.start()
        wait_for(lambda: blocked(service))
        if breaks == "api":
            api.kill()
        break_off(service)
        thread.join()
    assert service.jobs.list() == []
    assert answers[0] != 202

    if breaks == "api":
        service.api()
    first, again = (submit_over_http(service, "key", Plan()) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    [job] = service.jobs.list()
    service.worker()
    job = service.until_ended(job)
    assert (job.state, job.attempt) == ("succeeded", 1)


@on_sqlite
def test_who_waits_for_sqlite_s_lock_loses_nothing(service: Service) -> None:
    service.reconciler()
    service.worker()
    job = service.submit(LASTING)
    service.until_step(job, 3)
    path = make_url(service.database_url).database
    assert path is not None
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    service.until_step(job, LASTING.steps)
    wait_for(lambda: (service.attempt(job) / "outcome.json").exists())
    holder.execute("ROLLBACK")
    holder.close()

    check(service, job, attempts=1)


# The reconciler


@on_postgres
def test_a_reconciler_killed_in_its_transaction_has_changed_nothing(service: Service) -> None:
    service.gates.close("step")
    lost = service.worker()
    job = service.submit()
    wait_for(lambda: service.gates.reached("step"))
    lost.kill()
    service.gates.open("step")
    service.let_lease_run_out(job)
    with locked(service, JOB_ROW):
        reconciler = service.reconciler()
        wait_for(lambda: blocked(service))
        reconciler.kill()
    assert story(service, job) == ["submitted", "claimed", "started"]
    service.reconciler()
    service.worker()

    check(service, job, attempts=2)


@on_postgres
def test_two_reconcilers_that_see_the_same_requeue_it_once(service: Service) -> None:
    service.gates.close("step")
    lost = service.worker()
    job = service.submit()
    wait_for(lambda: service.gates.reached("step"))
    lost.kill()
    service.gates.open("step")
    service.let_lease_run_out(job)
    with locked(service, JOB_ROW):
        for _ in range(2):
            service.reconciler()
        wait_for(lambda: len(blocked(service)) >= 2)
    service.until(job, lambda seen: seen.state == "queued")
    assert story(service, job) == ["submitted", "claimed", "started", "requeued"]
    service.worker()

    check(service, job, attempts=2)
