"""POST, GET and cancel under /v1/jobs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event

from tests.api.answers import problem_of
from tests.api.conftest import OPERATOR, World


@pytest.fixture
def world_with_weights(world, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    settings = world.settings.model_copy(update={"weights_folder": folder})
    return World(settings, world.roots), folder


def test_a_submitted_job_is_answered_whole_and_its_pool_is_hinted(world):
    answer = world.http.post("/v1/jobs", json=world.distill_spec(twins=["plain"]))

    assert answer.status_code == 202
    job = answer.json()
    assert [one["code"] for one in job.pop("warnings")] == ["no_worker_in_pool"]
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["queue_position"], job["kind"]) == ("queued", 1, "distill")
    assert job["spec"]["training"]["batch_size"] == 16  # defaults are filled in
    assert "lease_token" not in job
    assert world.hints.pools == ["default"]
    assert world.http.get(answer.headers["location"]).json() == job


def test_an_analysis_is_queued_and_found_by_its_kind(world_with_weights):
    world, _ = world_with_weights
    spec = {"kind": "analyse", "dataset": world.dataset(), "teacher": world.teacher()}

    job = world.http.post("/v1/jobs", json=spec).json()

    assert job["spec"]["hide_among"] == ["boxes", "picture"]
    found = world.http.get("/v1/jobs?kind=analyse").json()["items"]
    assert [item["id"] for item in found] == [job["id"]]


def test_an_analysis_with_a_teacher_of_other_classes_is_refused(world):
    teacher = world.teacher(classes=("cat", "cow"))
    spec = {"kind": "analyse", "dataset": world.dataset(), "teacher": teacher}

    problem = problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_spec")

    assert problem["errors"][0]["pointer"] == "/teacher"


def test_a_dead_redis_does_not_fail_the_submit_and_the_hint_stays_due(world):
    world.hints.dead = True

    world.submitted()

    due = world.services.jobs.pending_hints(again_after=timedelta(hours=1))
    assert due == ["default"]


def test_validate_only_queues_nothing_and_fills_the_defaults_in(world):
    answer = world.http.post("/v1/jobs?validate_only=true", json=world.train_spec())

    assert answer.status_code == 200
    assert answer.json()["valid"] is True
    assert answer.json()["spec"]["training"]["optimizer"] == "sgd"
    assert world.http.get("/v1/jobs").json()["items"] == []
    assert world.hints.pools == []


def test_validate_only_finds_what_a_submit_would(world):
    spec = world.distill_spec(teacher=world.teacher(classes=("cat", "cow")))

    answer = world.http.post("/v1/jobs?validate_only=true", json=spec)

    problem_of(answer, 422, "invalid_spec")


def test_a_misspelt_query_parameter_is_refused_instead_of_queueing(world):
    answer = world.http.post("/v1/jobs?validateonly=true", json=world.train_spec())

    problem = problem_of(answer, 422, "invalid_request")
    assert problem["errors"][0]["parameter"] == "validateonly"
    assert world.http.get("/v1/jobs").json()["items"] == []


def test_a_data_set_still_being_checked_is_a_conflict(world):
    answer = world.http.post("/v1/jobs", json=world.train_spec(dataset=world.dataset(ready=False)))

    assert "still being checked" in problem_of(answer, 409, "not_ready")["detail"]


def test_a_rejected_data_set_is_a_conflict_that_says_where_the_reason_is(world):
    dataset_id = world.dataset(ready=False)
    world.services.library.dataset_checked(
        dataset_id, usable=False, report={}, sha256="", classes=()
    )

    answer = world.http.post("/v1/jobs", json=world.train_spec(dataset=dataset_id))

    assert f"/v1/datasets/{dataset_id}" in problem_of(answer, 409, "not_ready")["detail"]


def test_a_teacher_still_being_checked_is_a_conflict(world):
    answer = world.http.post("/v1/jobs", json=world.distill_spec(teacher=world.teacher(key="")))

    assert "teacher" in problem_of(answer, 409, "not_ready")["detail"]


@pytest.mark.parametrize("field", ["dataset", "teacher"])
@pytest.mark.parametrize("value", ["00000000-0000-7000-8000-000000000000", "../x", "a\x00b", ""])
def test_an_id_that_names_nothing_is_pointed_at(world, field, value):
    answer = world.http.post("/v1/jobs", json=world.distill_spec(**{field: value}))

    problem = problem_of(answer, 422, "invalid_spec")
    assert problem["errors"][0]["pointer"] == f"/{field}"


def test_a_teacher_of_other_classes_is_refused_naming_both(world):
    spec = world.distill_spec(teacher=world.teacher(classes=("cat", "cow")))

    problem = problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_spec")

    assert "'cow'" in problem["detail"]
    assert "'dog'" in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/teacher"


@pytest.mark.parametrize("method", ["ld", "fgfi"])
def test_a_method_that_cannot_serve_the_teacher_is_refused_naming_those_that_can(world, method):
    spec = world.distill_spec(method={"name": method})  # the teacher is an FCOS

    problem = problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_spec")

    served, for_fcos = problem["detail"].split("for fcos there are ")
    assert f"method '{method}' cannot distil fcos" in served
    assert "gfl" in served
    assert {"pgd", "fkd"} <= set(for_fcos.split(", "))
    assert not {"ld", "fgfi"} & set(for_fcos.split(", "))
    assert problem["errors"][0]["pointer"] == "/method/name"


@pytest.mark.parametrize("kind", ["train", "distill"])
def test_weights_that_the_servers_folder_lacks_are_pointed_at(world_with_weights, kind):
    world, folder = world_with_weights
    spec = world.train_spec() if kind == "train" else world.distill_spec()
    backbone = spec["model"]["backbone"] if kind == "train" else spec["student"]
    backbone["weights"] = "file:resnet.pth"

    problem = problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_spec")
    assert "resnet.pth" in problem["detail"]
    assert str(folder) not in problem["detail"]
    pointer = "/model/backbone/weights" if kind == "train" else "/student/weights"
    assert problem["errors"][0]["pointer"] == pointer

    (folder / "resnet.pth").touch()
    assert world.http.post("/v1/jobs", json=spec).status_code == 202


def test_weights_are_left_to_the_worker_where_the_api_knows_no_folder(world):
    spec = world.train_spec()
    spec["model"]["backbone"]["weights"] = "file:resnet.pth"

    assert world.http.post("/v1/jobs", json=spec).status_code == 202


def test_the_same_classes_in_another_order_are_refused_too(world):
    spec = world.distill_spec(teacher=world.teacher(classes=("dog", "cat")))

    problem = problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_spec")

    assert "another order" in problem["detail"]


def test_a_wrong_enum_is_answered_with_the_valid_ones(world):
    spec = world.distill_spec(student={"name": "vgg16"})

    problem = problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_request")

    assert problem["errors"][0]["pointer"] == "/student/name"
    assert "mobilenet_v2" in problem["errors"][0]["detail"]


def test_an_unknown_kind_is_answered_with_the_valid_ones(world):
    problem = problem_of(
        world.http.post("/v1/jobs", json={"kind": "paint"}), 422, "invalid_request"
    )

    assert "distill" in problem["detail"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"epochs": 3}, "/epochs"),
        ({"training": {"epohcs": 3}}, "/training/epohcs"),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"training": {"epochs": 3, "iterations": 5}}, "/training"),
        ({"training": {"epochs": 10**400}}, "/training/epochs"),
        ({"name": "x" * 201}, "/name"),
    ],
)
def test_each_wrong_field_has_its_pointer(world, change, pointer):
    answer = world.http.post("/v1/jobs", json=world.train_spec(**change))

    problem = problem_of(answer, 422, "invalid_request")
    assert [item["pointer"] for item in problem["errors"]] == [pointer]


def test_a_missing_field_is_pointed_at_where_it_should_be(world):
    spec = world.train_spec()
    del spec["model"]["backbone"]

    problem = problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_request")

    assert problem["errors"][0]["pointer"] == "/model/backbone"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(world, number):
    text = '{"kind": "train", "dataset": "%s", "model": {"detector": "fcos", "backbone": '
    text += '{"name": "resnet18"}}, "training": {"learning_rate": %s}}'
    headers = {"Content-Type": "application/json"}

    answer = world.http.post("/v1/jobs", content=text % (world.dataset(), number), headers=headers)

    problem = problem_of(answer, 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/training/learning_rate"


@pytest.mark.parametrize("name", ["a\x00b", "line\nbreak"])
def test_a_name_with_control_characters_is_refused(world, name):
    answer = world.http.post("/v1/jobs", json=world.train_spec(name=name))

    assert problem_of(answer, 422, "invalid_spec")["errors"][0]["pointer"] == "/name"


def test_the_same_idempotency_key_and_body_give_the_first_job(world):
    spec, headers = world.train_spec(), {"Idempotency-Key": "order-17"}

    first = world.http.post("/v1/jobs", json=spec, headers=headers)
    second = world.http.post("/v1/jobs", json=spec, headers=headers)

    assert second.status_code == 202
    assert second.json()["id"] == first.json()["id"]
    assert len(world.http.get("/v1/jobs").json()["items"]) == 1


def test_the_same_idempotency_key_with_another_body_is_refused(world):
    spec, headers = world.train_spec(), {"Idempotency-Key": "order-17"}
    world.http.post("/v1/jobs", json=spec, headers=headers)

    answer = world.http.post("/v1/jobs", json={**spec, "name": "other"}, headers=headers)

    problem_of(answer, 422, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["", "two words", "x" * 201])
def test_an_impossible_idempotency_key_is_refused(world, key):
    answer = world.http.post("/v1/jobs", json=world.train_spec(), headers={"Idempotency-Key": key})

    assert problem_of(answer, 422, "invalid_request")["errors"][0]["in"] == "header"


def test_pages_hold_every_job_once_newest_first(world):
    ids = [world.submitted() for _ in range(5)]
    seen, after = [], None
    while True:
        query = {"limit": 2} | ({"after": after} if after else {})
        page = world.http.get("/v1/jobs", params=query).json()
        seen += [job["id"] for job in page["items"]]
        after = page["next_after"]
        assert page["has_more"] is (after is not None)
        if not page["has_more"]:
            break

    assert seen == ids[::-1]


def test_queued_jobs_know_their_place(world):
    first, second = world.submitted(), world.submitted()

    places = {
        job["id"]: job["queue_position"] for job in world.http.get("/v1/jobs").json()["items"]
    }

    assert places == {first: 1, second: 2}


def test_a_page_of_queued_jobs_asks_the_database_no_more_than_one_job_does(world):
    def statements(path):
        asked = []
        engine = world.services.jobs._engine

        def note(*arguments):
            asked.append(arguments[2])

        event.listen(engine, "before_cursor_execute", note)
        world.http.get(path)
        event.remove(engine, "before_cursor_execute", note)
        return len(asked)

    ids = [world.submitted() for _ in range(5)]
    assert statements("/v1/jobs") <= statements(f"/v1/jobs/{ids[0]}")


def test_lists_are_filtered_by_state_and_kind(world):
    train = world.submitted()
    distill = world.submitted(world.distill_spec())
    world.http.post(f"/v1/jobs/{train}:cancel")

    def ids(**query):
        return [job["id"] for job in world.http.get("/v1/jobs", params=query).json()["items"]]

    assert ids(state="cancelled") == [train]
    assert ids(kind="distill") == [distill]
    assert ids(kind="distill", state="cancelled") == []


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "state=lost", "kind=paint"])
def test_an_impossible_page_is_refused(world, query):
    problem = problem_of(world.http.get(f"/v1/jobs?{query}"), 422, "invalid_request")

    assert problem["errors"][0]["parameter"] == query.partition("=")[0]


@pytest.mark.parametrize("state", ["lost"])
def test_a_wrong_filter_is_answered_with_the_valid_ones(world, state):
    problem = problem_of(world.http.get(f"/v1/jobs?state={state}"), 422, "invalid_request")

    assert "succeeded" in problem["detail"]


def test_a_queued_job_is_cancelled_at_once_and_only_once(world):
    job_id = world.submitted()

    answer = world.http.post(f"/v1/jobs/{job_id}:cancel")

    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert answer.json()["reason"] == "cancelled_by_user"
    problem_of(world.http.post(f"/v1/jobs/{job_id}:cancel"), 409, "illegal_move")


def test_a_running_job_is_asked_to_stop(world):
    job, _ = world.running()

    answer = world.http.post(f"/v1/jobs/{job.id}:cancel").json()

    assert (answer["state"], answer["stop_requested"]) == ("running", "cancel")


@pytest.mark.parametrize("suffix", ["", "/metrics", "/events", "/logs", "/artifacts"])
@pytest.mark.parametrize("job_id", ["00000000-0000-7000-8000-000000000000", "x%00y", "x y"])
def test_a_job_that_does_not_exist_is_not_found(world, job_id, suffix):
    answer = world.http.get(f"/v1/jobs/{job_id}{suffix}")

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_a_job_that_does_not_exist_cannot_be_cancelled(world):
    assert world.http.post("/v1/jobs/none:cancel").json()["code"] == "not_found"


def test_a_study_is_queued_and_its_faults_are_named(world: World) -> None:
    spec = {
        "kind": "study",
        "dataset": world.dataset(),
        "teachers": {"fcos": world.teacher()},
        "student": {"name": "resnet18"},
    }
    answer = world.http.post("/v1/jobs", json=spec)
    assert answer.status_code == 202
    assert answer.json()["spec"]["references"] == ["plain", "head_only"]
    assert world.http.get("/v1/jobs?kind=study").json()["items"][0]["id"] == answer.json()["id"]

    for more, pointer in (
        ({"teachers": {"fcos": "none"}}, "/teachers/fcos"),
        ({"teachers": {"fcos": world.teacher(classes=("cow",))}}, "/teachers/fcos"),
        ({"teachers": {}}, ""),
    ):
        refused = world.http.post("/v1/jobs", json=spec | more)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"].startswith(pointer)


def test_a_job_is_placed_as_its_query_says(world):
    team = world.team("vision")
    asked = {"team": team, "pool": "big", "priority": "low", "gpus": 4, "min_memory_mb": 40_000}

    job = world.http.post("/v1/jobs", json=world.train_spec(team), params=asked).json()

    assert asked.items() <= job.items()
    assert world.hints.pools == ["big"]
    event = world.http.get(f"/v1/jobs/{job['id']}/events").json()["items"][0]
    assert event["by"] == OPERATOR
    assert asked == event["data"]


@pytest.mark.parametrize("validate_only", [False, True])
def test_an_unknown_team_is_a_fault_of_the_query_that_names_the_teams_there_are(
    world, validate_only
):
    world.team("vision")
    query = {"team": "none", "validate_only": validate_only}

    answer = world.http.post("/v1/jobs", json=world.train_spec(), params=query)

    (item,) = problem_of(answer, 422, "invalid_request")["errors"]
    assert (item["parameter"], item["in"]) == ("team", "query")
    assert item["detail"] == "there is no team 'none'; there are default, vision"
    assert world.http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize(
    "query", ["gpus=0", "gpus=257", "priority=urgent", "pool=A", "team=_", "min_memory_mb=-1"]
)
def test_an_impossible_placement_is_refused(world, query):
    answer = world.http.post(f"/v1/jobs?{query}", json=world.train_spec())

    problem = problem_of(answer, 422, "invalid_request")
    assert problem["errors"][0]["parameter"] == query.partition("=")[0]


def test_a_team_that_has_as_many_jobs_waiting_as_it_may_is_refused_with_a_page_that_explains(world):
    team = world.team("vision", max_queued_jobs=1)
    world.submitted(team=team)

    answer = world.http.post("/v1/jobs", json=world.train_spec(team), params={"team": team})

    problem = problem_of(answer, 409, "quota_exceeded")
    assert "wait until one starts" in problem["detail"]
    assert "409" in world.http.get(problem["type"]).text
    assert world.http.post("/v1/jobs", json=world.train_spec()).status_code == 202


def test_more_gpus_than_a_team_may_ever_run_are_refused(world):
    query = {"team": world.team("vision", max_running_gpus=2), "gpus": 3}

    spec = world.train_spec("vision", training={"batch_size": 3})
    answer = world.http.post("/v1/jobs", json=spec, params=query)

    assert "ask for fewer" in problem_of(answer, 409, "quota_exceeded")["detail"]


def test_lists_are_filtered_by_team_and_pool(world):
    team = world.team("vision")
    first = world.submitted(team=team)
    second = world.submitted(team=team, pool="big")
    third = world.submitted(pool="big")

    def ids(**query):
        return [job["id"] for job in world.http.get("/v1/jobs", params=query).json()["items"]]

    assert ids(team=team) == [second, first]
    assert ids(pool="big") == [third, second]
    assert ids(pool="big", team=team) == [second]
    assert ids(team="none") == []
    problem_of(world.http.get("/v1/jobs?team=A"), 422, "invalid_request")
