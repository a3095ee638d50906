from __future__ import annotations

from datetime import UTC, datetime

from pgd_core.jobs.job import CheckState, Dataset, Teacher
from worker.turns import Turns

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def dataset(id_, team):
    parts = ("/t.json", "/t", "/v.json", "/v")
    return Dataset(id_, id_, CheckState.CHECKING, *parts, (), "", {}, _NOW, team)


def teacher(id_, team):
    return Teacher(id_, id_, CheckState.CHECKING, {}, (), None, None, "", "", "", _NOW, team=team)


def taken(turns, waiting, count):
    """The ids in the order in which they have their turns, each gone afterwards."""
    there, order = list(waiting), []
    for _ in range(count):
        thing = turns.take(there)
        there.remove(thing)
        order.append(thing.id)
    return order


def test_teams_have_their_turns_one_after_the_other():
    waiting = [dataset(f"a{i}", "a") for i in range(3)] + [dataset(f"b{i}", "b") for i in range(2)]

    assert taken(Turns(), waiting, 5) == ["a0", "b0", "a1", "b1", "a2"]


def test_a_teams_teachers_come_before_its_data_sets_but_not_before_other_teams():
    waiting = [dataset("a0", "a"), dataset("b0", "b"), teacher("b8", "b"), teacher("b9", "b")]

    assert taken(Turns(), waiting, 4) == ["b8", "a0", "b9", "b0"]


def test_a_team_that_comes_later_is_next_and_not_for_all_that_it_missed():
    turns = Turns()
    taken(turns, [dataset(f"a{i}", "a") for i in range(5)], 5)
    both = [dataset("a7", "a"), dataset("a8", "a"), dataset("b0", "b"), dataset("b1", "b")]

    assert taken(turns, both, 4) == ["b0", "a7", "b1", "a8"]


def test_what_had_its_turn_and_waits_still_comes_after_its_teams_other_things():
    turns, waiting = Turns(), [dataset("a0", "a"), dataset("a1", "a")]

    assert [turns.take(waiting).id for _ in range(4)] == ["a0", "a1", "a0", "a1"]


def test_what_is_not_to_be_tried_now_has_no_turn():
    turns, waiting = Turns(), [dataset("a0", "a"), dataset("b0", "b")]

    assert turns.take(waiting, but={"a0"}).id == "b0"
    assert turns.take(waiting, but={"a0", "b0"}) is None
    assert turns.take([]) is None
    assert turns.take(waiting).id == "a0"
