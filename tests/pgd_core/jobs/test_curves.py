"""Curves: attempts joined, thinned out without losing a spike."""

from __future__ import annotations

import pytest

from pgd_core.jobs.curves import Curves, Point, thinned, values_of
from pgd_core.jobs.run import ProgressLine


def line(iteration=0, type="train", variant="distilled", **rest):
    return ProgressLine(
        type=type, at="2026-01-02T03:04:05+00:00", iteration=iteration, variant=variant, **rest
    )


def points(*values):
    return [Point(n, n / 10, value) for n, value in enumerate(values)]


def test_a_lines_numbers_go_by_their_own_names_and_loss_is_their_sum():
    found = values_of(
        line(losses={"loss_cls": 1.0}, distillation_losses={"loss_pgd": 0.5}, learning_rate=0.01)
    )
    assert found == {"loss_cls": 1.0, "loss_pgd": 0.5, "loss": 1.5, "lr": 0.01}
    assert values_of(line(losses={"loss": 9.0, "loss_cls": 1.0}))["loss"] == 9.0
    assert values_of(line(type="validation", metrics={"AP": 30, "per_class": [1]})) == {"AP": 30.0}


def test_an_attempt_that_goes_on_from_a_checkpoint_takes_the_place_of_what_came_after_it():
    curves = Curves(["loss", "AP"])
    for n in (10, 20, 30, 40):
        curves.take(1, line(n, losses={"loss": 1.0}))
        curves.take(1, line(n, type="validation", metrics={"AP": 1.0}))
    for n in (30, 40, 50):
        curves.take(2, line(n, losses={"loss": 2.0}))

    loss = curves.found["loss", "distilled"].points
    assert [(p.iteration, p.value) for p in loss] == [(10, 1), (20, 1), (30, 2), (40, 2), (50, 2)]
    assert [p.iteration for p in curves.found["AP", "distilled"].points] == [10, 20]


def test_variants_have_curves_of_their_own_and_every_key_is_known():
    curves = Curves(["loss"])
    curves.take(1, line(10, variant="plain", losses={"loss": 1.0}, learning_rate=0.1))
    curves.take(1, line(10, variant="distilled", losses={"loss": 2.0}))

    assert sorted(curves.found) == [("loss", "distilled"), ("loss", "plain")]
    assert curves.known == {"loss", "lr"}


def test_few_points_stay_as_they_are():
    few = points(1, 2, 3, 4)
    assert thinned(few, 4) == few
    assert thinned([], 4) == []


@pytest.mark.parametrize("most", [4, 5, 10, 99, 500])
@pytest.mark.parametrize("count", [5, 100, 1001])
def test_what_is_left_has_both_ends_every_spike_and_no_more_points_than_asked(most, count):
    values = [float(n % 7) for n in range(count)]
    values[count // 2], values[count // 3] = 1000.0, -1000.0
    thin = thinned(points(*values), most)

    assert len(thin) <= max(most, 0)
    assert (thin[0].iteration, thin[-1].iteration) == (0, count - 1)
    assert {1000.0, -1000.0} <= {point.value for point in thin}
    order = [point.iteration for point in thin]
    assert order == sorted(set(order))


def test_a_flat_curve_is_thinned_too():
    assert len(thinned(points(*[1.0] * 1000), 100)) <= 100
