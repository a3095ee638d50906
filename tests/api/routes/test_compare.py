"""Models side by side over HTTP."""

from __future__ import annotations

import csv
import io

import pytest

from tests.api.answers import problem_of
from tests.api.registered import model_of


def ask(http, *ids, headers=None, **query):
    return http.get("/v1/compare", params={"model": list(ids), **query}, headers=headers)


@pytest.fixture
def pair(world):
    made = [model_of(world, name="=cmd()"), model_of(world, name="b", training={"epochs": 3})]
    return [model["id"] for model in made]


def test_a_column_for_each_model_in_the_order_asked_for(world, pair):
    answer = ask(world.http, *reversed(pair))

    told = answer.json()
    assert [model["id"] for model in told["models"]] == pair[::-1]
    assert [model["version"] for model in told["models"]] == [1, 1]
    rows = {(row["section"], row["field"]): row["values"] for row in told["rows"]}
    assert rows["metrics", "AP"] == [41.5, 41.5]
    assert rows["cost", "weights_bytes"] == [7, 7]
    assert rows["spec", "/training/epochs"][0] == 3
    assert ("spec", "/training/batch_size") not in rows
    assert ("spec", "/name") not in rows


@pytest.mark.parametrize(
    ("headers", "query"),
    [({"Accept": "text/csv"}, {}), ({}, {"format": "csv"}), ({"Accept": "*/*"}, {"format": "csv"})],
)
def test_the_table_as_csv_holds_no_formula(world, pair, headers, query):
    answer = ask(world.http, *pair, headers=headers, **query)

    assert answer.headers["content-type"].startswith("text/csv")
    assert "comparison.csv" in answer.headers["content-disposition"]
    head, ids, *rows = csv.reader(io.StringIO(answer.text))
    assert head == ["section", "field", "'=cmd() v1", "b v1"]
    assert ids == ["model", "id", *pair]
    assert ["metrics", "AP", "41.5", "41.5"] in rows
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]


def test_the_form_that_is_asked_for_goes_before_what_is_accepted(world, pair):
    answer = ask(world.http, *pair, headers={"Accept": "text/csv"}, format="json")

    assert answer.json()["rows"]


def test_models_of_different_data_sets_are_told_apart(world, pair):
    assert ask(world.http, *pair).json()["warnings"] == []
    library = world.services.library
    other = library.add_dataset("other", "/a", "/b", "/c", "/d").id
    library.dataset_checked(other, usable=True, report={}, sha256="1" * 64, classes=("cat", "dog"))
    third = model_of(world, dataset=other)["id"]

    answer = ask(world.http, pair[0], third)

    assert "different data sets" in answer.json()["warnings"][0]
    assert "different data sets" in ask(world.http, pair[0], third, format="csv").text


@pytest.mark.parametrize("count", [0, 1, 11])
def test_two_to_ten_models_are_compared(world, count):
    problem_of(ask(world.http, *(f"m{n}" for n in range(count))), 422, "invalid_request")


def test_a_model_beside_itself_is_refused(world, pair):
    problem_of(ask(world.http, pair[0], pair[0]), 422, "invalid_request")


def test_another_teams_model_does_not_exist(world, pair):
    theirs = model_of(world, "b")["id"]

    refused = problem_of(ask(world.of("viewer"), pair[0], theirs), 404, "not_found")

    assert refused["detail"] == f"no model {theirs}"
