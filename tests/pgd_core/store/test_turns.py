from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from threading import Event

import psycopg
import pytest
from sqlalchemy import insert, literal_column, select, text
from sqlalchemy.exc import DataError, OperationalError

from pgd_core.store import migrate, turns
from pgd_core.store.engine import open_engine, reading, writing
from pgd_core.store.tables import JobRow
from pgd_core.store.turns import end_turn, in_turn, take_turn
from tests.benchmarks.bench_claims import TEAMS, job_rows
from tests.servers import PostgresServer

ONE = select(literal_column("1"))
NAME = text("UPDATE teams SET max_queued_jobs = :most RETURNING max_queued_jobs")
ADD = text("UPDATE teams SET max_queued_jobs = max_queued_jobs + :more")
MOST = text("SELECT max_queued_jobs FROM teams")


@pytest.fixture
def postgresql(engine):
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no trips to save")
    return engine


def test_what_a_turn_changed_is_there_when_it_has_ended(engine):
    with writing(engine) as session:
        assert in_turn(session, ONE, {}).scalar_one() == 1
        steps = ((NAME, {"most": 5}), (ADD, {"more": 2}), (ADD, {"more": 4}))
        assert end_turn(session, *steps).scalar_one() == 5

    with reading(engine) as session:
        assert session.execute(MOST).scalar_one() == 11


def test_a_turn_that_has_ended_outlives_a_crash_of_the_server():
    server = PostgresServer()
    url = server.new_database()
    migrate(url)
    engine = open_engine(url)
    with writing(engine) as session:
        in_turn(session, ONE, {})
        end_turn(session, (NAME, {"most": 5}))
    server.stop(signal.SIGQUIT)
    server.start()

    with reading(engine) as session:
        assert session.execute(MOST).scalar_one() == 5
    engine.dispose()


def test_the_end_of_a_turn_lets_the_next_one_begin(postgresql):
    other = open_engine(postgresql.url.render_as_string(hide_password=False))
    with writing(postgresql) as session:
        take_turn(session)
        end_turn(session, (ONE, {}))
        with writing(other) as next_one:
            next_one.execute(text("SET LOCAL lock_timeout = 50"))
            assert in_turn(next_one, ONE, {}).scalar_one() == 1
    other.dispose()


def test_who_waits_too_long_for_the_turn_is_told_and_nothing_is_left_to_be_sent(postgresql):
    other = open_engine(postgresql.url.render_as_string(hide_password=False))
    with writing(postgresql) as session:
        take_turn(session)
        with writing(other) as impatient:
            impatient.execute(text("SET LOCAL lock_timeout = 50"))
            with pytest.raises(OperationalError, match="lock timeout"):
                in_turn(impatient, ONE, {})
            impatient.rollback()
        with reading(other) as session:
            assert session.execute(ONE).scalar_one() == 1
    other.dispose()


def test_a_step_that_fails_takes_the_others_with_it(postgresql):
    steps = ((NAME, {"most": 9}), (text("SELECT 1 / 0"), {}), (MOST, {}))
    with pytest.raises(DataError, match="division by zero"), writing(postgresql) as session:
        end_turn(session, *steps)

    with reading(postgresql) as session:
        assert session.execute(MOST).scalar_one() is None


def test_who_freezes_while_it_sends_loses_its_turn(postgresql, monkeypatch):
    monkeypatch.setattr(turns, "TURN_LASTS_S", 1)
    frozen, thaw, execute = Event(), Event(), psycopg.Cursor.execute

    def freeze(cursor, query, *rest, **options):
        if query == "SELECT 1":
            frozen.set()
            thaw.wait(60)
        return execute(cursor, query, *rest, **options)

    def turn():
        with writing(postgresql) as session:
            in_turn(session, ONE, {})

    with ThreadPoolExecutor(1) as threads, monkeypatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", freeze)
        lost = threads.submit(turn)
        assert frozen.wait(60)
        with writing(postgresql) as session:
            take_turn(session)
        thaw.set()
        with pytest.raises(OperationalError):
            lost.result()


def test_an_older_postgresql_makes_a_claim_step_by_step(cluster, postgresql, monkeypatch):
    with postgresql.connect():
        monkeypatch.setattr(postgresql.dialect, "server_version_info", (16, 9))
    monkeypatch.setattr(psycopg.Connection, "pipeline", None)
    cluster.worker("w", 1)
    id = cluster.submit()

    assert cluster.claimed("w") == id
    assert [event.kind for event in cluster.jobs.events(id)] == ["submitted", "claimed"]


@pytest.mark.usefixtures("postgresql")
def test_a_claim_goes_to_the_server_twice(cluster, monkeypatch):
    trips = []
    pipeline = psycopg.Connection.pipeline
    monkeypatch.setattr(
        psycopg.Connection, "pipeline", lambda self: trips.append(self) or pipeline(self)
    )
    cluster.worker("w", 1)
    id = cluster.submit()

    assert cluster.claimed("w") == id
    assert len(trips) == 2


def test_the_looks_of_a_claim_are_planned_once_and_not_each_time(cluster, postgresql):
    cluster.worker("w", 1)
    for name in TEAMS:
        cluster.team(name)
    with writing(postgresql) as session:
        rows = [row | {"created_at": datetime.now(UTC)} for row in islice(job_rows(), 2000)]
        session.execute(insert(JobRow), rows)
        session.execute(text("UPDATE jobs SET gpus = 2"))  # for which there is no worker
        session.execute(text("ANALYZE"))
    for _ in range(20):
        assert cluster.claim("w") is None

    with postgresql.connect() as connection:  # the one that the claims used
        plans = connection.exec_driver_sql(
            "SELECT statement, custom_plans FROM pg_prepared_statements WHERE statement ~ 'jobs'"
        ).all()
    enough_to_compare = 5
    assert len(plans) >= 3
    assert [row.statement for row in plans if row.custom_plans > enough_to_compare] == []
