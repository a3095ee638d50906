"""Conditions on jobs, with their values in the statement's text and not as its parameters.

PostgreSQL keeps a plan only if it is no worse than one for the values at hand, and with parameters
it cannot know how rare a state is: it would plan each claim anew, which takes as long as the claim.
"""

from __future__ import annotations

from sqlalchemy import String, literal_column
from sqlalchemy.sql.elements import ColumnElement

from pgd_core.jobs.job import JobState
from pgd_core.store.tables import JobRow

ONE_ROW: ColumnElement[int] = literal_column("1")  # for LIMIT


def in_states(*states: JobState, job: type[JobRow] = JobRow) -> ColumnElement[bool]:
    """The job is in one of the states."""
    return job.state.in_([_in_the_text(state.value) for state in states])


def for_workers(job: type[JobRow] = JobRow) -> ColumnElement[bool]:
    """A worker may claim it: a study is driven by the reconciler, only its jobs need workers."""
    return job.kind != _in_the_text("study")


def _in_the_text(word: str) -> ColumnElement[str]:
    return literal_column(f"'{word}'", String)
