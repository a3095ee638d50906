"""The database's clock: what time it is there, and how a time is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, DateTime, Dialect, Float, TypeDecorator, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class UtcTime(TypeDecorator[datetime]):
    """An instant: aware UTC in Python; `timestamptz` in PostgreSQL, UTC text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002  SQLAlchemy's signature
    ) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class database_now(FunctionElement[datetime]):  # noqa: N801  reads as an SQL function
    """The database's time, shifted; leases of many machines are compared on this one clock."""

    type = UtcTime()
    inherit_cache = True

    def __init__(self, shift: timedelta | BindParameter[float] = timedelta(0)) -> None:
        in_s = literal(shift.total_seconds()) if isinstance(shift, timedelta) else shift
        super().__init__(in_s)


class seconds_since(FunctionElement[float]):  # noqa: N801
    """Seconds from a column's time to the database's."""

    type = Float()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _sqlite_now(element: database_now, compiler: SQLCompiler, **options: Any) -> str:
    # %f is seconds with milliseconds; three zeros make it SQLAlchemy's own text of a time, so
    # that times compare as text.
    shift_s = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {shift_s} || ' seconds')"


@compiles(database_now, "postgresql")
def _postgresql_now(element: database_now, compiler: SQLCompiler, **options: Any) -> str:
    # Not now(): that is when the transaction began, before it waited for a lock.
    shift_s = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {shift_s}))"


@compiles(seconds_since, "sqlite")
def _sqlite_since(element: seconds_since, compiler: SQLCompiler, **options: Any) -> str:
    then = compiler.process(element.clauses, **options)
    return f"((julianday('now') - julianday({then})) * 86400.0)"


@compiles(seconds_since, "postgresql")
def _postgresql_since(element: seconds_since, compiler: SQLCompiler, **options: Any) -> str:
    then = compiler.process(element.clauses, **options)
    return f"CAST(extract(epoch FROM clock_timestamp() - {then}) AS DOUBLE PRECISION)"
