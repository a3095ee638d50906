from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from pgd_core.store.engine import open_engine, reading, writing
from pgd_core.store.tables import EventRow
from pgd_core.store.times import database_now


def test_the_database_s_time_is_aware_and_finer_than_a_second(engine):
    with reading(engine) as session:
        times = [session.execute(select(database_now())).scalar_one() for _ in range(2)]
        shifted = session.execute(select(database_now(timedelta(hours=-1.5)))).scalar_one()

    assert all(time.tzinfo is UTC for time in times)
    assert abs(datetime.now(UTC) - times[0]) < timedelta(seconds=5)
    assert any(time.microsecond for time in times)
    assert abs(times[1] - shifted - timedelta(hours=1.5)) < timedelta(seconds=5)


def test_a_row_of_no_job_is_refused(engine):
    with pytest.raises(IntegrityError), writing(engine) as session:
        session.add(EventRow(job_id="none", sequence=1, at=database_now(), kind="x", data={}))


def test_a_failed_transaction_leaves_nothing(engine, jobs, spec):
    job = jobs.submit(spec)
    with contextlib.suppress(RuntimeError), writing(engine) as session:
        session.execute(text("UPDATE jobs SET name = 'changed'"))
        raise RuntimeError

    assert jobs.get(job.id).name == job.name


def test_sqlite_is_opened_for_safety_and_for_readers_beside_a_writer(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'pgd.sqlite'}")
    with engine.connect() as connection:
        values = {
            pragma: connection.execute(text(f"PRAGMA {pragma}")).scalar_one()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()

    full = 2
    assert values == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


def test_a_plain_postgresql_url_gets_the_installed_driver():
    engine = open_engine("postgresql://user:secret@host/pgd")

    assert engine.url.drivername == "postgresql+psycopg"
