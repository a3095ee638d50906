"""GET /metrics: what Prometheus reads, and who may."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.api.answers import problem_of
from tests.api.conftest import World


def figures_of(http):
    """Each sample's value by its name and labels, in the order of their names."""
    answer = http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_figures_of_jobs_workers_and_requests(world):
    world.worker("gpu-1", gpus=2)
    job_id = world.submitted()
    for _ in range(3):
        world.http.get(f"/v1/jobs/{job_id}")
    world.http.get("/v1/jobs/none")
    world.http.get("/nowhere/at/all")

    found = figures_of(world.http)

    assert found["pgd_jobs", "default", "queued", "default"] == 1
    assert found["pgd_queue_oldest_seconds", "default", "default"] >= 0
    assert found["pgd_workers", "default", "active"] == 1
    assert found["pgd_slots_free", "default"] == 2
    assert found["pgd_http_requests_total", "GET", "/v1/jobs/{job_id}", "200"] == 3
    assert found["pgd_http_requests_total", "GET", "/v1/jobs/{job_id}", "404"] == 1
    assert found["pgd_http_requests_total", "GET", "none", "404"] == 1
    assert found["pgd_http_request_duration_seconds_count", "GET", "/v1/jobs/{job_id}"] == 4


def test_figures_are_an_operators_unless_the_settings_say_otherwise(world):
    problem_of(world.caller(None).get("/metrics"), 401, "unauthenticated")
    problem_of(world.of("admin").get("/metrics"), 403, "forbidden")

    opened = World(world.settings.model_copy(update={"metrics_public": True}), world.roots)
    with opened.http:
        opened.submitted()
        assert figures_of(opened.caller(None))["pgd_jobs", "default", "queued", "default"] == 1
        problem_of(opened.caller(None).get("/v1/me"), 401, "unauthenticated")
