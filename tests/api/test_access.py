"""Who may do what: every route of the OpenAPI document, asked by every kind of caller.

A route that declares no rule fails here, and so does one with a path parameter that this test has
no thing for: a new kind of thing must be added to `Things`, so that it is tried as another team.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from api.door import is_public
from api.openapi import rules_of
from pgd_core.jobs.keys import Role
from pgd_core.jobs.run import LOG_FILE
from pgd_core.store import SqlQueue
from tests.api.answers import problem_of

RULES = ["public", "viewer", "submitter", "admin", "operator"]
ROLES = ["viewer", "submitter", "admin"]
UNKNOWN = "00000000-0000-7000-8000-000000000000"
PAGES = {"/openapi.json", "/docs"}  # which are no operations


@dataclass
class Things:
    """One of each kind of thing that a team can have, by the path parameter that names it."""

    team: str
    job_id: str
    dataset_id: str
    teacher_id: str
    upload_id: str
    key_id: str
    unfinished_id: str
    model_id: str
    webhook_id: str
    artifact: str = "student.safetensors"

    def url(self, path: str, unknown: bool = False) -> str:
        """The route's address for this team's thing, or for one that does not exist."""
        shared = {
            "/v1/workers": {"name": "gpu-1"},
            "/v1/teams": {"name": self.team},
            "/v1/jobs": {"name": self.artifact},
            "/v1/uploads/files": {"filename": "a.pth"},
            "/problems": {"code": "not_found"},
        }
        named = next((names for part, names in shared.items() if path.startswith(part)), {})
        values = {**vars(self), **named}
        if unknown:
            values |= {name: UNKNOWN for name in vars(self) if name.endswith("_id")}
        return path.format(**values)


def owned(path: str) -> bool:
    """Whether the address names a thing of one team."""
    return bool(set(re.findall(r"{(\w+)}", path)) & {f.name for f in _fields()})


def _fields():
    return [f for f in Things.__dataclass_fields__.values() if f.name.endswith("_id")]


def things_of(world, team) -> Things:
    """One of each, by way of the API; the job has succeeded, so that all of it is there."""
    secret = world.secret_of("admin", team)
    http = world.caller(secret)
    spec = world.train_spec(team, name=f"job-of-{team}")
    files = {"student.safetensors": b"weights", "detector.safetensors": b"weights"}
    job_id = world.succeeded(files, spec, team=team)
    log = world.services.attempt_folder(job_id, 1) / LOG_FILE
    log.parent.mkdir(parents=True)
    log.write_text(f"log-of-{team}\n")
    upload = http.post("/v1/uploads", content=b"x", params={"filename": f"upload-of-{team}"}).json()
    body = {"name": f"dataset-of-{team}", "folder": str(world.folder())}
    dataset = http.post("/v1/datasets", json=body).json()
    key = http.post("/v1/keys", json={"name": f"spare-key-of-{team}", "role": "viewer"}).json()
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "1000"}
    unfinished = http.post("/v1/uploads/tus", headers=headers).headers["location"]
    (model,) = http.get("/v1/models").json()["items"]
    hook = {"url": f"https://hooks.example/hook-of-{team}"}
    return Things(
        team,
        job_id,
        dataset["id"],
        world.teacher(team=team),
        upload["id"],
        key["id"],
        unfinished.rpartition("/")[2],
        model["id"],
        http.post("/v1/webhooks", json=hook).json()["id"],
    )


def operations(world) -> Iterator[tuple[str, str, dict]]:
    """(path, method, operation) of the document, and the HEAD that it does not show."""
    document = world.http.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation
            if path.endswith(("artifacts/{name}", "/contact-sheet")):
                yield path, "head", operation


def ask(http, method, url, operation):
    """Ask with the first example of a body, and of each header, where the route takes one."""
    headers = {
        parameter["name"]: parameter["schema"]["examples"][0]
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "header" and "examples" in parameter["schema"]
    }
    content = operation.get("requestBody", {}).get("content", {})
    examples = content.get("application/json", {}).get("examples", {})
    if examples:
        return http.request(
            method, url, json=next(iter(examples.values()))["value"], headers=headers
        )
    if "application/json" in content:
        return http.request(method, url, json={}, headers=headers)
    if content:
        headers["Content-Type"] = next(iter(content))
    return http.request(method, url, content=b"bytes" if content else None, headers=headers)


def lets_in(rule: str, role: str) -> bool:
    return RULES.index(role) >= RULES.index(rule)


@pytest.fixture
def full(world):
    """The world with teams a and b, each with one of everything, and a worker."""
    world.worker("gpu-1")
    return world, things_of(world, "a"), things_of(world, "b")


def test_every_route_says_who_may_call_it_in_the_document_too(world):
    rules = rules_of(world.app)
    operations_ = {(path, method): op for path, method, op in operations(world)}

    assert len(rules) > 30
    assert {route: rule for route, rule in rules.items() if rule not in RULES} == {}
    assert set(rules) == set(operations_)
    for route, operation in operations_.items():
        assert operation["x-role"] == rules[route]
        keyless = rules[route] == "public"
        assert operation["security"] == ([] if keyless else [{"bearer": []}])
        assert keyless or {"401", "403", "429"} <= set(operation["responses"])
    paths = {path for (path, _), rule in rules.items() if rule == "public"} | PAGES
    assert all(is_public(path) for path in paths)
    assert not any(is_public(path) for (path, _), rule in rules.items() if rule != "public")


def test_nobody_gets_in_without_a_key_that_is_good_but_to_public_pages(full):
    world, a, _ = full
    yesterday = datetime.now(UTC) - timedelta(days=1)
    revoked, secret = world.services.keys.create("gone", "a", Role.ADMIN)
    world.services.keys.revoke(revoked.id)
    good = world.secret_of("admin", "a")
    callers = {
        "no key": None,
        "expired": world.secret_of("admin", "a", expires_at=yesterday),
        "revoked": secret,
        "a wrong end": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "a beginning": good[:12],
        "nonsense": "pgd_\x7f",
        "empty": "",
    }
    for name, key in callers.items():
        http = world.caller(key)
        for path, method, operation in operations(world):
            answer = ask(http, method, a.url(path), operation)
            if operation["x-role"] == "public":
                assert answer.status_code != 401, (name, method, path)
                continue
            assert answer.status_code == 401, (name, method, path)
            assert answer.headers["www-authenticate"] == 'Bearer realm="pgd"'
            if method != "head":
                problem_of(answer, 401, "unauthenticated")
    for page in PAGES:
        assert world.caller(None).get(page).is_success
    assert world.caller(None).get("/v1/none").status_code == 401
    assert world.caller(good).get("/v1/none").status_code == 404


@pytest.mark.parametrize("role", [*ROLES, "operator"])
def test_each_role_may_do_what_the_document_says_and_no_more(full, role):
    world, a, _ = full
    http = world.http if role == "operator" else world.of(role, "a")
    for path, method, operation in sorted(operations(world), key=lambda o: o[1] == "delete"):
        answer = ask(http, method, a.url(path), operation)
        where = (role, method, path, answer.text)
        if lets_in(operation["x-role"], role):
            assert answer.status_code not in (401, 403, 404, 405, 500), where
        elif method == "head":
            assert answer.status_code == 403, where
        else:
            problem_of(answer, 403, "forbidden")


@pytest.mark.parametrize("role", ROLES)
def test_another_teams_thing_is_answered_as_one_that_does_not_exist(full, role):
    world, a, _ = full
    http = world.of(role, "b")
    before = world.http.get(f"/v1/jobs/{a.job_id}").json()
    for path, method, operation in operations(world):
        if not owned(path):
            continue
        theirs = ask(http, method, a.url(path), operation)
        none = ask(http, method, a.url(path, unknown=True), operation)
        where = (role, method, path, theirs.text)
        allowed = lets_in(operation["x-role"], role)
        assert theirs.status_code == none.status_code == (404 if allowed else 403), where
        assert _without_ids(theirs.text, a) == _without_ids(none.text, a), where
    assert world.http.get(f"/v1/jobs/{a.job_id}").json() == before
    assert world.http.get(f"/v1/teachers/{a.teacher_id}").status_code == 200
    assert world.http.get(f"/v1/keys/{a.key_id}").json()["revoked_at"] is None


def test_nothing_of_a_team_is_in_what_another_is_shown(full):
    world, a, b = full
    hidden = {value for name, value in vars(a).items() if name.endswith("_id")}
    worker = world.worker("gpu-2")
    runs = world.submitted(world.train_spec("a", name="runs-of-a"), team="a")
    world.claimed(worker, 0)
    waits = world.submitted(world.train_spec("a", name="waits-of-a"), team="a")
    names = ("job", "log", "upload", "dataset", "spare-key", "runs", "waits", "hook")
    hidden |= {runs, waits, *(f"{name}-of-a" for name in names)}
    for role in ROLES:
        http = world.of(role, "b")
        for path, method, operation in operations(world):
            if method != "get":
                continue
            world.forget()
            answer = ask(http, method, b.url(path), operation)
            found = {text for text in hidden if text in answer.text}
            assert not found, (role, path, answer.text)
    world.forget()
    (pool,) = world.of("viewer", "b").get("/v1/queue").json()["pools"]
    (running,), (waiting,) = pool["running"], pool["waiting"]["items"]
    assert (running["id"], running["name"], running["team"]) == (None, None, "a")
    assert (waiting["id"], waiting["name"], waiting["position"]) == (None, None, 1)
    devices = world.of("viewer", "b").get("/v1/workers/gpu-2").json()["devices"]
    assert [(device["busy"], device["job"]) for device in devices] == [(True, None), (False, None)]
    (mine,) = world.of("viewer", "a").get("/v1/queue").json()["pools"]
    assert (mine["running"][0]["id"], mine["waiting"]["items"][0]["id"]) == (runs, waits)
    devices = world.of("viewer", "a").get("/v1/workers/gpu-2").json()["devices"]
    assert devices[0]["job"] == runs


def test_who_is_made_to_wait_for_another_teams_job_is_not_told_which(full):
    world, _, _ = full
    running, _ = _preempted(world, by="b")
    text = world.of("viewer", "a").get(f"/v1/jobs/{running}/events").text
    assert "a job of another team, of class high, needs its GPUs" in text

    running, urgent = _preempted(world, by="a")
    text = world.of("viewer", "a").get(f"/v1/jobs/{running}/events").text
    assert f"job {urgent}, of class high, needs its GPUs" in text


def _preempted(world, by: str) -> tuple[str, str]:
    """The id of a job of team a that is asked to make room, and of the job of team `by` for it."""
    worker = world.worker(f"small-{by}", gpus=1, pool=f"pool-{by}")
    world.submitted(team="a", pool=worker.pool, priority="low")
    job, _ = world.claimed(worker, 0)
    urgent = world.submitted(team=by, pool=worker.pool, priority="high")
    queue = SqlQueue(world.services.jobs._engine)
    assert job.id in [stopped.id for stopped in queue.preempt()]
    return job.id, urgent


def test_lists_hold_the_callers_teams_things_and_an_operators_all(full):
    world, a, b = full
    kinds = {
        "jobs": "job_id",
        "datasets": "dataset_id",
        "teachers": "teacher_id",
        "keys": "key_id",
        "models": "model_id",
    }
    for kind, name in kinds.items():
        mine, theirs = getattr(b, name), getattr(a, name)
        shown = {item["id"] for item in world.of("admin", "b").get(f"/v1/{kind}").json()["items"]}
        assert mine in shown
        assert theirs not in shown
        every = {item["id"] for item in world.http.get(f"/v1/{kind}").json()["items"]}
        assert {mine, theirs} <= every
    teams = world.of("viewer", "b").get("/v1/teams").json()["items"]
    assert [team["name"] for team in teams] == ["b"]
    for kind in ("jobs", "keys", "audit"):
        problem_of(world.of("admin", "b").get(f"/v1/{kind}?team=a"), 403, "forbidden")
        assert world.http.get(f"/v1/{kind}?team=a").json()["items"]


def _without_ids(text: str, things: Things) -> str:
    for name, value in vars(things).items():
        if name.endswith("_id"):
            text = text.replace(value, UNKNOWN)
    return text
