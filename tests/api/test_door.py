"""The door and how often one may knock."""

from __future__ import annotations

import pytest
import structlog

from api.rates import Rates
from tests.api.answers import problem_of
from tests.api.conftest import World


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_key_may_ask_so_often_at_once_and_then_as_fast_as_its_rate():
    clock = Clock()
    rates = Rates(2, 3, clock)

    assert [rates.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rates.take("b") == 0  # another key's is its own
    clock.now += 0.5
    assert [rates.take("a"), rates.take("a")] == [0, 0.5]
    clock.now += 1000
    assert [rates.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_rate_of_nothing_is_no_limit():
    rates = Rates(0, 1, Clock())

    assert [rates.take("a") for _ in range(9)] == [0] * 9


def test_the_use_of_a_key_is_due_once_a_minute():
    clock = Clock()
    rates = Rates(2, 3, clock)
    rates.take("a")

    assert [rates.is_due("a"), rates.is_due("a")] == [True, False]
    clock.now += 60
    assert rates.is_due("a")


@pytest.fixture
def slow(world):
    """The world with a limit of three requests, and one more each ten seconds."""
    limits = {"rate_limit_per_s": 0.1, "rate_limit_burst": 3}
    return World(world.settings.model_copy(update=limits), world.roots)


def test_who_asks_too_often_is_told_when_to_come_again_and_others_are_not_held_up(slow):
    answers = [slow.http.get("/v1/me") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    problem = problem_of(answers[3], 429, "rate_limited")
    assert answers[3].headers["retry-after"] == "10"
    assert "429" in slow.http.get(problem["type"]).text
    assert slow.of("viewer").get("/v1/me").status_code == 200


def test_a_key_whose_use_cannot_be_noted_still_opens(world, monkeypatch):
    def broken(_):
        raise OSError("disk full")

    monkeypatch.setattr(world.services.keys, "used", broken)

    with structlog.testing.capture_logs() as logged:
        assert world.http.get("/v1/me").is_success
    assert [line["event"] for line in logged] == ["key_use_not_noted"]


def test_the_body_of_a_stranger_is_not_read(world):
    answer = world.caller(None).post("/v1/jobs", content=b"x" * 2_000_000)

    problem_of(answer, 401, "unauthenticated")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_found_however_it_is_written(world, scheme):
    headers = {"Authorization": f"{scheme} {world.secret}"}

    assert world.caller(None).get("/v1/me", headers=headers).is_success
    wrong = {"Authorization": f"Basic {world.secret}"}
    assert world.caller(None).get("/v1/me", headers=wrong).status_code == 401
    assert world.caller(None).get(f"/v1/me?api_key={world.secret}").status_code == 401


@pytest.mark.parametrize("other", ["Bearer pgd_no", "Basic YTpi"])
def test_of_two_keys_none_counts(world, other):
    good = ("Authorization", f"Bearer {world.secret}")

    for headers in ([good, ("Authorization", other)], [("Authorization", other), good]):
        refused = problem_of(
            world.caller(None).get("/v1/me", headers=headers), 401, "unauthenticated"
        )
        assert "send one" in refused["detail"]


def test_a_route_without_the_door_lets_nobody_through(world):
    """Were the door left out, the routes would still ask who is there."""
    for middleware in list(world.app.user_middleware):
        if middleware.cls.__name__ == "Door":
            world.app.user_middleware.remove(middleware)
    world.app.middleware_stack = None

    problem_of(world.http.get("/v1/jobs"), 401, "unauthenticated")
