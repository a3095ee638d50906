"""Taking turns: decisions about the order come one after the other, in as few trips as can be.

All workers wait for the one whose turn it is, and most of a turn would be waiting for the network.
So PostgreSQL is sent several statements at once, and answers all of them. Older ones than 17 do
them one by one, and so does SQLite, which lets one writer in at a time anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import CursorResult, Dialect, Engine, Executable, bindparam, event, func, select
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.orm import Session

# A turn waits for ten seconds at most (`lock_timeout`), and then takes milliseconds.
TURN_LASTS_S = 15

_LOCK = select(func.pg_advisory_xact_lock(7407316))  # any number, the same in every process
# After a trip a frozen process does not count as idle, as psycopg's last message to the server asks
# for no answer: `idle_in_transaction_session_timeout` never comes, and only this ends the turn.
_BOUND = select(func.set_config("transaction_timeout", bindparam("timeout"), True))

Step = tuple[Executable, Mapping[str, Any]]


def take_turn(session: Session) -> None:
    """Wait for all other decisions about the order; the turn ends with the transaction."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection().execute(_LOCK)


def in_turn(session: Session, look: Executable, values: Mapping[str, Any]) -> CursorResult[Any]:
    """Take the turn and look, in one trip."""
    if not _has_trips(session.connection().dialect):
        take_turn(session)
        return session.connection().execute(look, values)
    bound = (_BOUND, {"timeout": f"{TURN_LASTS_S}s"})
    return _in_one_trip(session, [bound, (_LOCK, {}), (look, values)])


def end_turn(session: Session, *steps: Step) -> CursorResult[Any]:
    """Do all steps and commit, in one trip; what the last one gives. Without trips the caller's
    transaction commits.
    """
    return _in_one_trip(session, steps, commits=True)


def _in_one_trip(
    session: Session, steps: Sequence[Step], *, commits: bool = False
) -> CursorResult[Any]:
    trip = _Trip(len(steps), commits)
    options = {_TRIP: trip} if _has_trips(session.connection().dialect) else {}
    results = [
        session.connection().execute(statement, values, execution_options=options)
        for statement, values in steps
    ]
    return results[-1]


def _has_trips(dialect: Dialect) -> bool:
    """PostgreSQL from 17 on, as older ones cannot bound a transaction."""
    return dialect.name == "postgresql" and (dialect.server_version_info or (0,)) >= (17,)


@dataclass
class _Trip:
    """Statements that PostgreSQL is sent together, once the last one is there."""

    steps: int
    commits: bool
    waiting: list[tuple[str, Any]] = field(default_factory=list)


_TRIP = "pgd_trip"  # among a statement's execution options


def allow_trips(engine: Engine) -> None:
    """Have an engine for PostgreSQL send statements together."""
    event.listen(engine, "do_execute", _execute)


def _execute(cursor: Any, statement: str, parameters: Any, context: ExecutionContext) -> bool:
    """Whether the statement was seen to: it waits for others, or all went off."""
    trip = context.execution_options.get(_TRIP)
    if trip is None:
        return False
    if len(trip.waiting) < trip.steps - 1:
        trip.waiting.append((statement, parameters))
        return True
    with cursor.connection.pipeline():
        for before in trip.waiting:
            cursor.connection.execute(*before)
        cursor.execute(statement, parameters)
        if trip.commits:
            cursor.connection.execute("COMMIT")
    return True
