"""Taking turns: decisions about the order come one after the other, in as few trips as can be.

All workers wait for the one whose turn it is, and most of a turn would be waiting for the network.
So PostgreSQL is sent several statements at once, and answers all of them. Nor does the next turn
wait until the disk has what this one changed; only the answer does. Older ones than 17 do one
statement after the other, and so does SQLite, which lets one writer in at a time anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import CursorResult, Dialect, Engine, Executable, event
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.orm import Session

# A turn waits for ten seconds at most (`lock_timeout`), and then takes milliseconds.
TURN_LASTS_S = 15

_LOCK = "SELECT pg_advisory_xact_lock(7407316)"  # any number, the same in every process
# A small transaction of its own: when it is on the disk, so is whatever was committed before.
_ON_DISK = "SELECT pg_logical_emit_message(true, 'turn', '')"

Step = tuple[Executable, Mapping[str, Any]]


def take_turn(session: Session) -> None:
    """Wait for all other decisions about the order; the turn ends with the transaction."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection().exec_driver_sql(_LOCK)


def in_turn(session: Session, look: Executable, values: Mapping[str, Any]) -> CursorResult[Any]:
    """Take the turn and look, in one trip; `end_turn` ends it, if anything was changed."""
    connection = session.connection()
    if not _has_trips(connection.dialect):
        take_turn(session)
        return connection.execute(look, values)
    lock = (
        f"{_LOCK},"
        # After a trip a frozen process does not count as idle, as psycopg's last message to the
        # server asks for no answer: `idle_in_transaction_session_timeout` never comes, only this.
        f" set_config('transaction_timeout', '{TURN_LASTS_S}s', true),"
        # The COMMIT is not to wait for the disk with the lock in hand: `end_turn` waits after it.
        " set_config('synchronous_commit', 'off', true)"
    )
    trip = _Trip(before=[(lock, None)])
    return connection.execute(look, values, execution_options={_TRIP: trip})


def end_turn(session: Session, step: Step, *further: Step) -> CursorResult[Any]:
    """Do all steps and commit, in one trip; what the first one gives, once all is on the disk.
    Without trips the caller's transaction commits.
    """
    connection = session.connection()
    if not _has_trips(connection.dialect):
        results = [connection.execute(*each) for each in (step, *further)]
        return results[0]
    trip = _Trip()
    for each in further:
        connection.execute(*each, execution_options={_FOR_TRIP: trip})
    trip.after.extend([("COMMIT", None), (_ON_DISK, None)])
    return connection.execute(*step, execution_options={_TRIP: trip})


def _has_trips(dialect: Dialect) -> bool:
    """PostgreSQL from 17 on, as older ones cannot bound a transaction."""
    return dialect.name == "postgresql" and (dialect.server_version_info or (0,)) >= (17,)


@dataclass
class _Trip:
    """What PostgreSQL is sent together with a statement, whose answer is the trip's."""

    before: list[tuple[str, Any]] = field(default_factory=list)
    after: list[tuple[str, Any]] = field(default_factory=list)


# Among a statement's execution options: the trip that it makes, or is to go along with.
_TRIP, _FOR_TRIP = "pgd_trip", "pgd_for_trip"


def allow_trips(engine: Engine) -> None:
    """Have an engine for PostgreSQL send statements together."""
    event.listen(engine, "do_execute", _execute)


def _execute(cursor: Any, statement: str, parameters: Any, context: ExecutionContext) -> bool:
    """Whether the statement was seen to: it waits for its trip, or all of the trip went off."""
    waits_for = context.execution_options.get(_FOR_TRIP)
    if waits_for is not None:
        waits_for.after.append((statement, parameters))
        return True
    trip = context.execution_options.get(_TRIP)
    if trip is None:
        return False
    with cursor.connection.pipeline():
        for before in trip.before:
            cursor.connection.execute(*before)
        cursor.execute(statement, parameters)
        for after in trip.after:
            cursor.connection.execute(*after)
    return True
