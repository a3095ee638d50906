"""Opening the database, and its two kinds of transaction: reading and writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session

from pgd_core.store.turns import allow_trips

_WRITES = "pgd_writes"
_SQLITE_BUSY_MS = 10_000

# A dead network or a stuck server must cost a worker less than its lease.
_POSTGRESQL_ARGUMENTS = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "options": "-c statement_timeout=15000 -c lock_timeout=10000 -c timezone=UTC "
    # A process that freezes within a transaction, or its machine, must not keep its locks: those
    # on a job, and above all the one that all claims take turns by.
    "-c idle_in_transaction_session_timeout=5000",
}


def open_engine(url: str) -> Engine:
    """A pool of connections to SQLite (one machine) or PostgreSQL (a team)."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(
        parsed,
        connect_args=_POSTGRESQL_ARGUMENTS,
        pool_pre_ping=True,
        # Under load the pool would close whatever is beyond its size, and open it again.
        pool_size=15,
        max_overflow=0,
    )
    allow_trips(engine)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that only looks."""
    with Session(engine) as session, session.begin():
        yield session


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A transaction that writes; on SQLite it takes the write lock at once."""
    with Session(engine.execution_options(**{_WRITES: True})) as session, session.begin():
        yield session


def _open_sqlite(url: URL) -> Engine:
    engine = create_engine(url)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, below
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_SQLITE_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # FULL, not NORMAL: a job that was answered with 202 outlives a power cut. The price is one
    # fsync a commit, and there are a few commits a second at most.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns from reading to writing fails at once, whatever the
    # busy_timeout, when another wrote meanwhile; taking the lock first waits instead.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
