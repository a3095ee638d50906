"""Liveness, readiness and the pages that explain problems."""

from __future__ import annotations

from api.main import create_app
from pgd_core.settings import Settings
from tests.api.answers import problem_of
from tests.api.conftest import TestClient
from tests.servers import redis_server


def test_livez_looks_at_nothing(world):
    world.services.checks["database"] = None

    assert world.http.get("/livez").json() == {"status": "alive", "checks": {}}


def test_readyz_names_what_does_not_answer_and_tells_nothing_of_the_inside(world):
    problem = problem_of(world.http.get("/readyz"), 503, "not_serving")

    assert [item["pointer"] for item in problem["errors"]] == ["/checks/redis"]
    assert str(world.settings.data_folder) not in problem["detail"]


def test_readyz_is_ready_with_a_redis(world):
    with redis_server() as server:
        app = create_app(world.settings.model_copy(update={"redis_url": server.url}))
        answer = TestClient(app).get("/readyz")

    assert answer.status_code == 200, answer.text
    checks = {"database", "migrations", "redis", "storage", "folder", "disk"}
    assert set(answer.json()["checks"]) == checks


def test_readyz_is_not_ready_under_the_disks_low_water_mark(world):
    settings = world.settings.model_copy(update={"min_free_bytes": 2**80})

    problem = problem_of(TestClient(create_app(settings)).get("/readyz"), 503, "not_serving")

    assert "/checks/disk" in [item["pointer"] for item in problem["errors"]]


def test_readyz_sees_a_database_that_was_not_migrated(tmp_path):
    http = TestClient(create_app(Settings(data_folder=tmp_path)))

    problem = problem_of(http.get("/readyz"), 503, "not_serving")

    assert "/checks/migrations" in [item["pointer"] for item in problem["errors"]]


def test_every_problems_type_leads_to_a_page(world):
    problem = world.http.get("/v1/jobs/none").json()

    page = world.http.get(problem["type"])

    assert page.status_code == 200
    assert page.text.startswith("not_found: 404")
    problem_of(world.http.get("/problems/none"), 404, "not_found")
