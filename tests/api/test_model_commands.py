"""`pgd models`, `model`, `compare`, `export`, `predict` and `download`, against a live server."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from tests.api.registered import export_of, model_of
from tests.pgd_core.predict.conftest import write_model
from tests.pgd_core.predict.test_init import encoded


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Tables are as wide as they need to be."""
    monkeypatch.setattr("api.model_commands.out._width", 240)


def test_models_are_listed_and_shown(world, pgd):
    model = model_of(world, name="[street]")

    row = next(line for line in pgd("models").splitlines() if model["id"] in line)
    assert "[street] v1" in row
    assert "41.5" in row
    assert json.loads(pgd("models", "--json", "--name", "none"))["items"] == []
    for id_ in (model["id"], model["job_id"]):
        shown = pgd("model", "show", id_)
        for word in ("[street] v1", "AP 41.5", "fcos resnet18", "7 bytes", "pgd export"):
            assert word in shown
        assert json.loads(pgd("model", "show", id_, "--json"))["id"] == model["id"]


def test_a_model_is_tagged_noted_and_unregistered(world, pgd):
    model = model_of(world, name="street")
    id_ = model["id"]

    assert pgd("model", "tag", id_, "a", "b").strip() == "a b"
    assert pgd("model", "tag", id_, "-r", "a").strip() == "b"
    assert pgd("model", "note", id_, "the best").strip() == "the best"
    assert "the best" in pgd("model", "show", id_)
    assert id_ in pgd("models", "--tag", "b")
    pgd("model", "tag", id_, code=2)
    assert "street v1" in pgd("model", "unregister", model["job_id"])
    assert "no job of that id" in pgd("model", "show", id_, code=1)


def test_models_are_compared_by_their_ids_or_their_jobs(world, pgd):
    a = model_of(world, name="=a", training={"epochs": 3, "learning_rate": 0.00025})
    b = model_of(world, name="b")

    said = pgd("compare", a["id"], b["job_id"])
    for word in ("=a v1", "b v1", "AP", "41.50", "weights_bytes", "/training/epochs", "0.00025"):
        assert word in said
    assert pgd("compare", a["id"], b["id"], "--csv").startswith("section,field,'=a v1,b v1")
    assert len(json.loads(pgd("compare", a["id"], b["id"], "--json"))["models"]) == 2
    pgd("compare", a["id"], b["id"], "--csv", "--json", code=2)
    assert "at least 2" in pgd("compare", a["id"], code=1)


def test_an_export_is_queued_by_model_or_job(world, pgd):
    model = model_of(world)

    for id_ in (model["id"], model["job_id"]):
        job = pgd("export", id_, "--pool", "cpu").strip()
        assert world.http.get(f"/v1/jobs/{job}").json()["spec"]["job"] == model["job_id"]


def test_an_export_is_waited_for_and_one_that_fails_ends_with_1(world, pgd, monkeypatch):
    model = model_of(world)
    queue = type(world.services.jobs).submit

    def submit_and_cancel(store, *arguments, **options):
        job = queue(store, *arguments, **options)
        return store.cancel(job.id)

    monkeypatch.setattr(type(world.services.jobs), "submit", submit_and_cancel)

    assert "cancelled" in pgd("export", model["id"], "--wait", code=1)


def test_a_picture_is_looked_at(world, pgd, tmp_path):
    model = model_of(world)
    picture, drawn = tmp_path / "in.jpg", tmp_path / "out.png"
    picture.write_bytes(encoded(Image.new("RGB", (300, 150)), "JPEG"))
    assert "pgd export" in pgd("predict", model["id"], picture, code=1)
    export_of(world, model, write_model(tmp_path / "m.onnx").read_bytes())

    said = pgd("predict", model["job_id"], picture, "--out", drawn)

    assert "cat" in said
    assert "150.0" in said
    assert "dog" not in said
    with Image.open(drawn) as image:
        assert image.size == (300, 150)
    assert "nothing of at least 0.95" in pgd("predict", model["id"], picture, "--threshold", 0.95)
    found = json.loads(pgd("predict", model["id"], picture, "--json"))["found"]
    assert [each["label"] for each in found] == ["cat"]


def test_a_models_files_are_downloaded(world, pgd, tmp_path):
    model = model_of(world)

    pgd("download", model["id"], "--to", tmp_path)
    assert (tmp_path / "detector.safetensors").read_bytes() == b"weights"
    assert "no job" in pgd("download", "none", "--to", tmp_path, code=1)
