"""POST, GET and DELETE under /v1/webhooks."""

from __future__ import annotations

import pytest

from tests.api.answers import problem_of

URL = "https://hooks.example/pgd"


def test_a_webhook_is_made_shown_and_deleted(world):
    admin = world.of("admin", "vision")

    answer = admin.post("/v1/webhooks", json={"url": URL, "kinds": ["failed", "failed"]})

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/webhooks/{made['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert made["secret"].startswith("whsec_")
    assert (made["team"], made["url"], made["kinds"]) == ("vision", URL, ["failed"])
    shown = admin.get(f"/v1/webhooks/{made['id']}").json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert admin.get("/v1/webhooks").json()["items"] == [shown]
    assert made["secret"] not in admin.get("/v1/webhooks").text
    assert admin.delete(f"/v1/webhooks/{made['id']}").json() == shown
    problem_of(admin.get(f"/v1/webhooks/{made['id']}"), 404, "not_found")


def test_a_test_message_waits_in_the_record_of_deliveries(world):
    webhook = world.http.post("/v1/webhooks", json={"url": URL}).json()
    url = f"/v1/webhooks/{webhook['id']}"

    tests = [world.http.post(f"{url}:test") for _ in range(3)]

    assert [answer.status_code for answer in tests] == [202] * 3
    page = world.http.get(f"{url}/deliveries", params={"limit": 2}).json()
    rest = world.http.get(f"{url}/deliveries", params={"after": page["next_after"]}).json()
    found = [delivery["id"] for delivery in page["items"] + rest["items"]]
    assert found == [answer.json()["id"] for answer in reversed(tests)]
    assert (page["items"][0]["kind"], page["items"][0]["state"]) == ("test", "pending")
    assert world.http.get(f"{url}/deliveries?state=failed").json()["items"] == []


@pytest.mark.parametrize(
    "url", ["http://hooks.example/", "https://10.0.0.1/", "https://[::1]:8/", "nonsense"]
)
def test_an_address_that_nothing_may_be_sent_to_is_refused(world, url):
    answer = world.http.post("/v1/webhooks", json={"url": url})

    problem = problem_of(answer, 422, "invalid_spec")
    assert problem["errors"][0]["pointer"] == "/url"
    assert world.http.get("/v1/webhooks").json()["items"] == []


def test_an_unknown_kind_of_event_is_answered_with_the_known_ones(world):
    answer = world.http.post("/v1/webhooks", json={"url": URL, "kinds": ["exploded"]})

    assert "succeeded" in problem_of(answer, 422, "invalid_request")["detail"]
