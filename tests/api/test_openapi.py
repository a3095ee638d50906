"""What /openapi.json tells."""

from __future__ import annotations

import pytest

from api.errors import MEDIA_TYPE

NEW = {
    ("/v1/jobs/{job_id}:cancel", "post"): {"202", "403", "404", "409"},
    ("/v1/jobs/{job_id}:pause", "post"): {"202", "403", "404", "409"},
    ("/v1/jobs/{job_id}:resume", "post"): {"202", "403", "404", "409"},
    ("/v1/jobs/{job_id}:retry", "post"): {"202", "403", "404", "409"},
    ("/v1/jobs/{job_id}", "patch"): {"200", "400", "403", "404", "409", "413"},
    ("/v1/queue", "get"): {"200"},
    ("/v1/workers", "get"): {"200"},
    ("/v1/workers/{name}", "get"): {"200", "404"},
    ("/v1/workers/{name}:drain", "post"): {"202", "403", "404", "409"},
    ("/v1/workers/{name}:undrain", "post"): {"202", "403", "404", "409"},
    ("/v1/teams", "get"): {"200"},
    ("/v1/teams/{name}", "put"): {"200", "400", "403", "413"},
    ("/v1/models", "get"): {"200"},
    ("/v1/models/{model_id}", "get"): {"200", "404"},
    ("/v1/models/{model_id}", "patch"): {"200", "400", "403", "404", "413"},
    ("/v1/models/{model_id}", "delete"): {"204", "403", "404"},
    ("/v1/models/{model_id}:export", "post"): {"200", "202", "400", "403", "404", "409", "413"},
    ("/v1/models/{model_id}:predict", "post"): {
        *("200", "400", "404", "408", "409", "413", "415", "503", "504")
    },
    ("/v1/compare", "get"): {"200", "404"},
}


@pytest.mark.parametrize(
    ("address", "statuses"),
    [(address, sorted(found)) for address, found in NEW.items()],
    ids=" ".join,
)
def test_every_answer_of_the_queues_addresses_is_declared(world, address, statuses):
    path, method = address
    operation = world.http.get("/openapi.json").json()["paths"][path][method]

    everywhere = {"401", "403", "422", "429", "500"}
    assert set(operation["responses"]) == set(statuses) | everywhere
    for status, response in operation["responses"].items():
        if status >= "400":
            assert list(response["content"]) == [MEDIA_TYPE]
    if method in ("put", "patch"):
        assert operation["requestBody"]["content"]["application/json"]["examples"]


def test_every_example_of_a_body_is_taken(world):
    paths = world.http.get("/openapi.json").json()["paths"]
    job_id = world.submitted()

    for path, method in (("/v1/jobs/{job_id}", "patch"), ("/v1/teams/{name}", "put")):
        body = paths[path][method]["requestBody"]["content"]["application/json"]
        for name, example in body["examples"].items():
            url = path.format(job_id=job_id, name="vision")
            answer = world.http.request(method, url, json=example["value"])
            assert answer.status_code == 200, (name, answer.text)
