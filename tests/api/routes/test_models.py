"""Models over HTTP: listed, shown, changed, exported, unregistered."""

from __future__ import annotations

import pytest

from tests.api.answers import problem_of
from tests.api.registered import export_of, model_of


def test_a_job_that_succeeds_leaves_a_model(world):
    model = model_of(world, name="street")

    assert world.http.get(f"/v1/models/{model['id']}").json() == model
    assert (model["name"], model["version"], model["team"]) == ("street", 1, "default")
    assert (model["kind"], model["metrics"]) == ("train", {"AP": 41.5})
    assert model["detector"]["detector"] == "fcos"
    assert model["classes"] == ["cat", "dog"]
    assert model["lineage"]["dataset"]["sha256"] == "0" * 64
    assert (model["size"], model["export_job"]) == (7, None)


def test_models_are_found_page_by_page_and_by_what_they_are(world):
    a, b, c = (model_of(world, name=name) for name in ("a", "a", "b"))
    world.http.patch(f"/v1/models/{b['id']}", json={"add_tags": ["good"]})

    def ids(**query):
        return [m["id"] for m in world.http.get("/v1/models", params=query).json()["items"]]

    first = world.http.get("/v1/models?limit=2").json()
    assert [m["id"] for m in first["items"]] == [c["id"], b["id"]]
    assert first["has_more"]
    assert ids(after=first["next_after"]) == [a["id"]]
    assert ids(name="a") == [b["id"], a["id"]]
    assert [m["version"] for m in world.http.get("/v1/models?name=a").json()["items"]] == [2, 1]
    assert ids(tag="good") == [b["id"]]
    assert ids(dataset=c["dataset_id"]) == [c["id"]]
    assert ids(job="none") == []


@pytest.mark.parametrize("query", [{"tag": "A B"}, {"name": "a\x00"}, {"limit": 0}, {"x": 1}])
def test_a_query_that_means_nothing_is_refused(world, query):
    problem_of(world.http.get("/v1/models", params=query), 422, "invalid_request")


def test_an_operator_sees_one_teams_models_when_they_ask_for_it(world):
    mine, theirs = model_of(world, "a"), model_of(world, "b")

    def ids(http, **query):
        return [m["id"] for m in http.get("/v1/models", params=query).json()["items"]]

    assert ids(world.http) == [theirs["id"], mine["id"]]
    assert ids(world.http, team="a") == ids(world.of("viewer", "a")) == [mine["id"]]
    problem_of(world.of("viewer", "a").get("/v1/models?team=b"), 403, "forbidden")


def test_tags_and_notes_are_changed_and_who_did_it_is_on_record(world):
    url = f"/v1/models/{model_of(world)['id']}"

    changed = world.http.patch(url, json={"add_tags": ["b", "a"], "notes": "so far\nthe best"})
    assert changed.json()["tags"] == ["a", "b"]
    assert changed.json()["notes"] == "so far\nthe best"
    assert world.http.patch(url, json={"remove_tags": ["a"]}).json()["tags"] == ["b"]
    assert world.http.get(url).json()["notes"] == "so far\nthe best"
    event = world.http.get("/v1/audit").json()["items"][0]
    assert (event["action"], event["thing"]) == ("change_model", url.removeprefix("/v1/"))
    assert event["details"] == {"remove_tags": ["a"]}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"notes": None},
        {"notes": "x" * 4001},
        {"notes": "\x00"},
        {"add_tags": ["Two words"]},
        {"add_tags": ["a" * 33]},
        {"add_tags": [f"t{n}" for n in range(21)]},
        {"add_tags": ["a"], "remove_tags": ["a"]},
        {"name": "other"},
    ],
    ids=str,
)
def test_a_change_that_cannot_be_is_refused(world, body):
    model = model_of(world)

    problem_of(world.http.patch(f"/v1/models/{model['id']}", json=body), 422, "invalid_request")
    assert world.http.get(f"/v1/models/{model['id']}").json() == model


def test_the_21st_tag_is_refused(world):
    url = f"/v1/models/{model_of(world)['id']}"
    world.http.patch(url, json={"add_tags": [f"t{n}" for n in range(20)]})

    refused = problem_of(world.http.patch(url, json={"add_tags": ["more"]}), 422, "invalid_spec")

    assert refused["errors"][0]["pointer"] == "/add_tags"


def test_what_is_unregistered_is_gone_and_its_files_are_not(world):
    model = model_of(world)
    url = f"/v1/models/{model['id']}"

    assert world.http.delete(url).status_code == 204

    problem_of(world.http.get(url), 404, "not_found")
    problem_of(world.http.delete(url), 404, "not_found")
    file = world.http.get(f"/v1/jobs/{model['job_id']}/artifacts/detector.safetensors")
    assert file.content == b"weights"
    assert world.http.get("/v1/audit").json()["items"][0]["action"] == "unregister_model"


def test_an_export_is_queued_for_the_models_own_job_data_set_and_team(world):
    model = model_of(world, "vision", name="street")
    url = f"/v1/models/{model['id']}:export"

    answer = world.http.post(url, json={"pictures": 3}, params={"priority": "high", "pool": "cpu"})

    job = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["kind"], job["name"], job["team"]) == ("export", "export of street v1", "vision")
    assert (job["pool"], job["priority"]) == ("cpu", "high")
    assert (job["spec"]["job"], job["spec"]["dataset"]) == (model["job_id"], model["dataset_id"])
    assert (job["spec"]["pictures"], job["spec"]["score_threshold"]) == (3, 0.05)
    assert world.hints.pools[-1] == "cpu"
    event = world.http.get("/v1/audit").json()["items"][0]
    assert (event["action"], event["thing"]) == ("export_model", f"jobs/{job['id']}")


def test_an_export_asked_for_twice_with_a_key_is_one_job(world):
    url = f"/v1/models/{model_of(world)['id']}:export"
    headers = {"Idempotency-Key": "once"}

    first, again = (world.http.post(url, headers=headers).json()["id"] for _ in range(2))

    assert first == again
    other = world.http.post(url, headers=headers, json={"pictures": 9})
    problem_of(other, 422, "idempotency_key_reused")


def test_an_export_of_other_classes_is_refused(world):
    model = model_of(world)
    other = world.dataset(classes=("bird",))

    answer = world.http.post(f"/v1/models/{model['id']}:export", json={"dataset": other})

    assert "they must be the same" in problem_of(answer, 422, "invalid_spec")["detail"]


def test_the_newest_export_is_known(world):
    model = model_of(world)

    exports = [export_of(world, model, b"graph") for _ in range(2)]

    found = world.http.get(f"/v1/models/{model['id']}").json()
    assert found["export_job"] == exports[-1]
