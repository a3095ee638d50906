"""Answers are kept for a day and given once begun to nobody else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from pgd_core.jobs.answers import Answer, Known
from pgd_core.store import SqlAnswerStore
from pgd_core.store.answers import AnswerRow
from pgd_core.store.engine import reading, writing
from pgd_core.store.times import database_now

ANSWER = Answer(202, "/v1/datasets/1", '{"id": "1"}')
KEY, ASKED = "a" * 64, "b" * 64


@pytest.fixture
def answers(engine):
    return SqlAnswerStore(engine)


def age(engine, shift: timedelta) -> None:
    """Everything was begun so long ago."""
    with writing(engine) as session:
        session.execute(update(AnswerRow).values(created_at=database_now(-shift)))


def test_the_first_is_new_and_the_next_hears_how_far_it_is(answers):
    assert answers.begin(KEY, ASKED) is None
    assert answers.begin(KEY, "other") == Known(ASKED, None)

    answers.finish(KEY, ANSWER)

    assert answers.begin(KEY, ASKED) == Known(ASKED, ANSWER)
    assert answers.begin("c" * 64, ASKED) is None


def test_what_was_forgotten_is_new(answers):
    answers.begin(KEY, ASKED)
    answers.forget(KEY)

    assert answers.begin(KEY, "other") is None


def test_after_a_day_it_is_new_and_gone_whatever_key_comes(engine, answers):
    answers.begin(KEY, ASKED)
    answers.finish(KEY, ANSWER)
    age(engine, timedelta(hours=23, minutes=59))
    assert answers.begin(KEY, ASKED) == Known(ASKED, ANSWER)

    age(engine, timedelta(hours=24, minutes=1))

    assert answers.begin("c" * 64, ASKED) is None
    with reading(engine) as session:
        assert list(session.scalars(select(AnswerRow.key))) == ["c" * 64]


def test_one_that_was_begun_by_a_process_that_died_is_new_after_a_minute(engine, answers):
    answers.begin(KEY, ASKED)
    age(engine, timedelta(seconds=50))
    assert answers.begin(KEY, ASKED) is not None

    age(engine, timedelta(seconds=70))

    assert answers.begin(KEY, ASKED) is None


def test_of_many_at_once_one_is_new(answers):
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: answers.begin(KEY, ASKED), range(16)))

    assert found.count(None) == 1
    assert found.count(Known(ASKED, None)) == 15
