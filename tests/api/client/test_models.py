"""Models from Python against a live server."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from api.client import ApiError, Client
from tests.api.registered import export_of, model_of
from tests.pgd_core.predict.conftest import write_model
from tests.pgd_core.predict.test_init import encoded


@pytest.fixture
def client(url):
    with Client(url) as client:
        yield client


def test_models_are_listed_found_changed_and_unregistered(world, client):
    a, b = model_of(world, name="a"), model_of(world, name="b")

    assert [m.id for m in client.models(limit=1).items] == [b["id"]]
    assert [m.id for m in client.models(name="a", tag=None).items] == [a["id"]]
    assert client.find_model(a["job_id"]) == client.find_model(a["id"]) == client.model(a["id"])
    changed = client.change_model(a["id"], add_tags=["good"], notes="yes")
    assert (changed.tags, changed.notes) == (("good",), "yes")
    assert client.change_model(a["id"], remove_tags=["good"]).notes == "yes"
    client.unregister_model(a["id"])
    with pytest.raises(ApiError, match="no job of that id that made one"):
        client.find_model(a["job_id"])


def test_a_job_that_made_no_model_is_told_so(world, client):
    with pytest.raises(ApiError, match="no job of that id that made one") as caught:
        client.find_model(world.submitted())
    assert caught.value.status == 404


def test_models_are_compared(world, client):
    ids = [model_of(world, name=name)["id"] for name in "ab"]

    assert [m.id for m in client.compare(ids).models] == ids
    assert client.compare_as_csv(ids).startswith("section,field,a v1,b v1")


def test_an_export_is_queued(world, client):
    model = model_of(world)

    job = client.export_model(model["id"], priority="low", pictures=2, idempotency_key="k")

    assert (job.kind, job.priority, job.spec["pictures"]) == ("export", "low", 2)
    again = client.export_model(model["id"], priority="low", pictures=2, idempotency_key="k")
    assert again.id == job.id


def test_a_picture_is_looked_at_and_drawn(world, client, tmp_path):
    model = model_of(world)
    export_of(world, model, write_model(tmp_path / "m.onnx").read_bytes())
    picture = encoded(Image.new("RGB", (300, 150)), "JPEG")

    prediction = client.predict(model["id"], picture, score_threshold=0.1)

    assert [each.label for each in prediction.found] == ["cat", "dog"]
    assert prediction.found[0].box == pytest.approx((0, 0, 300, 150))
    with Image.open(io.BytesIO(client.draw(model["id"], picture))) as drawing:
        assert (drawing.format, drawing.size) == ("PNG", (300, 150))
    with pytest.raises(ApiError) as caught:
        client.predict(model["id"], b"none")
    assert caught.value.code == "bad_picture"
